"""Which manager has room for tasks that ask for something: cores, memory, GPUs, nodes, time.

Tasks of one priority that ask for the same stand in one line. Lines, and all the tasks that ask for nothing, are served
by priority, then in the order in which they came. What a manager has no room for now waits, and those behind it may go
before it, with one exception: for the first few that wait a manager is *reserved* each. It gets nothing that would keep
them from being next there. So no room stays empty for longer than the tasks need that run there, and nobody waits for
ever.
"""

from __future__ import annotations

from bisect import insort
from collections import deque
from collections.abc import Iterable, Iterator, Mapping

from parsl_pool.interchange.columns import Tasks
from parsl_pool.interchange.named_tuple import NamedTuple
from parsl_pool.interchange.request import Request

Amounts = tuple[int, int, int, int]
"""Workers' places, megabytes of memory, megabytes of disk, nodes for MPI programs."""

NOTHING: Amounts = (0, 0, 0, 0)
DEPTH = 200
"""So many lines are looked at when there is room: there may be as many as tasks."""

RESERVED_MOST = 8
_ANY = 1 << 60


class Has(NamedTuple):
    """What a manager has for its tasks. Of memory and disk 0 means that nobody knows: they are not looked at."""

    workers: int
    cores: int
    memory_mb: int
    disk_mb: int
    gpus: int  # different ones: each worker's place has one, and some may share theirs
    nodes: int
    lasts_ms: int  # until its node is taken away; 0: no end is known


def needs(request: Request, has: Has) -> Amounts | None:
    """How much of a manager's a task takes; None if it has not so much, however empty it is.

    A node's cores go up evenly among its workers' places, so that what asks for nothing has its share of them.
    """
    cores, workers = max(has.cores, has.workers), has.workers
    if request.cores > cores or request.gpus > min(has.gpus, workers) or request.num_nodes > has.nodes:
        return None
    if (has.memory_mb and request.memory_mb > has.memory_mb) or (has.disk_mb and request.disk_mb > has.disk_mb):
        return None
    if has.lasts_ms and request.running_ms > has.lasts_ms:
        return None
    places = max(1, request.gpus, -(-request.cores * workers // cores))
    return places, request.memory_mb, request.disk_mb, request.num_nodes


def in_words(has: Has) -> str:
    """For messages."""
    parts = [f"{max(has.cores, has.workers)} cores", f"{has.memory_mb:,} MB of memory" if has.memory_mb else ""]
    parts += [f"{has.disk_mb:,} MB of disk" if has.disk_mb else "", f"{min(has.gpus, has.workers)} GPUs a task"]
    parts += [f"{has.nodes} nodes for MPI" if has.nodes else ""]
    parts += [f"{has.lasts_ms / 60_000:.3g} minutes" if has.lasts_ms else ""]
    return ", ".join(filter(None, parts))


class Room:
    """What a manager has, and what tasks that ask for something have taken of it."""

    __slots__ = ("asking", "extra", "has", "lent", "limits", "taken", "until")

    def __init__(self, has: Has, now: float) -> None:
        self.has = has
        self.limits: Amounts = (has.workers, has.memory_mb or _ANY, has.disk_mb or _ANY, has.nodes)
        self.until = now + has.lasts_ms / 1000 if has.lasts_ms else float("inf")
        self.asking: dict[int, Amounts] = {}  # task -> what it has
        self.taken: Amounts = NOTHING
        self.extra = 0  # places that they take, beyond one each
        self.lent = 0  # places of tasks that wait for others

    def take(self, task: int, amounts: Amounts) -> None:
        """This is the task's."""
        self.asking[task] = amounts
        self.taken = _sum(self.taken, amounts)
        self.extra += amounts[0] - 1

    def give_back(self, tasks: Iterable[int]) -> None:
        """These are over; some may have asked for nothing."""
        for task in tasks:
            amounts = self.asking.pop(task, None)
            if amounts is not None:
                places, memory, disk, nodes = amounts
                self.taken = _sum(self.taken, (-places, -memory, -disk, -nodes))
                self.extra -= places - 1

    def free(self, held: int) -> Amounts:
        """What is left; held: how many tasks the manager has, of whatever kind."""
        places = self.limits[0] + self.lent - self.taken[0] - (held - len(self.asking))
        _, memory, disk, nodes = (limit - taken for limit, taken in zip(self.limits, self.taken))
        return places, memory, disk, nodes


def _sum(one: Amounts, other: Amounts) -> Amounts:
    return one[0] + other[0], one[1] + other[1], one[2] + other[2], one[3] + other[3]


class Line:
    """Tasks of one priority that ask for the same, the first one first."""

    __slots__ = ("order", "priority", "request", "reserved", "tasks")

    def __init__(self, priority: int, request: Request) -> None:
        self.priority, self.request = priority, request
        self.tasks: deque[tuple[int, Tasks]] = deque()
        self.order = 0  # of the first one
        self.reserved = ""  # a manager

    def __lt__(self, other: Line) -> bool:
        return (self.priority, self.order) < (other.priority, other.order)


class Seat:
    """A manager, as the broker sees it."""

    __slots__ = (
        "functions", "held", "idle_since", "known", "least", "name", "open", "queued", "rank", "room", "told", "window",
    )  # fmt: skip

    def __init__(self, name: str, room: Room, now: float) -> None:
        self.name = name
        self.room = room
        self.idle_since = now  # means something while nothing is held
        self.rank = 0  # those with a lower one are given tasks first
        self.told = self.window = 0  # as it has said, and without the places that tasks take beyond one each
        self.least = 1  # it is sent more when so many of these are free
        self.held: set[int] = set()
        self.known: set[int] = set()  # tasks whose results it will tell again, since it does not know that they came
        self.functions: set[int] = set()
        self.open = True  # takes tasks
        self.queued = False  # stands in Broker._ready

    def release(self, tasks: Iterable[int]) -> None:
        """These are not here any more."""
        self.held.difference_update(tasks)
        if self.room.asking:
            self.room.give_back(tasks)
            self.window = max(0, self.told - self.room.extra)

    def settle(self, task: int, amounts: Amounts) -> None:
        """This one is here, and takes so much."""
        self.held.add(task)
        self.room.take(task, amounts)
        self.window = max(0, self.told - self.room.extra)

    def free(self) -> Amounts:
        """What is left of what it has."""
        return self.room.free(len(self.held))


class Packing:
    """The lines of tasks that wait. Not thread-safe, as the broker whose part it is."""

    def __init__(self) -> None:
        self._lines: dict[tuple[int, Request], Line] = {}
        self._sorted: list[Line] = []
        self.waiting = 0

    def __bool__(self) -> bool:
        return bool(self._sorted)

    def add(self, tasks: Tasks, order: int) -> None:
        """A task waits. order: those that came before have lower ones."""
        line = self._line(tasks)
        line.tasks.append((order, tasks))
        self.waiting += 1
        if len(line.tasks) == 1:
            self._sort_in(line)

    def add_first(self, tasks: Tasks) -> None:
        """A task is back: it goes before all others of its kind."""
        line = self._line(tasks)
        if line.tasks:
            self._sorted.remove(line)
        line.tasks.appendleft((0, tasks))
        self.waiting += 1
        self._sort_in(line)

    def _line(self, tasks: Tasks) -> Line:
        assert tasks.request is not None
        key = (tasks.priority, tasks.request)
        line = self._lines.get(key)
        if line is None:
            line = self._lines[key] = Line(*key)
        return line

    def _sort_in(self, line: Line) -> None:
        line.order = line.tasks[0][0]
        insort(self._sorted, line)

    def take(self, line: Line) -> Tasks:
        """The first one of a line."""
        self._sorted.remove(line)
        _, tasks = line.tasks.popleft()
        self.waiting -= 1
        if line.tasks:
            self._sort_in(line)
        else:
            del self._lines[line.priority, line.request]
        return tasks

    def lines(self) -> list[Line]:
        """The first of those that wait, in order."""
        return self._sorted[:DEPTH]

    def hopeless(self, kinds: Iterable[Has]) -> Iterator[Line]:
        """Lines of tasks that no manager of these can ever hold."""
        different = set(kinds)
        for line in list(self._sorted):
            if not any(needs(line.request, has) for has in different):
                yield line


class Round:
    """One look at who can have what."""

    def __init__(self, now: float) -> None:
        self._now = now
        self.reserved: dict[str, tuple[Line, Amounts]] = {}  # manager -> who is next there

    def fits(self, line: Line, seat: Seat) -> Amounts | None:
        """What the first task of a line takes there; None if it can't go there now."""
        amounts = self._needs(line, seat)
        if amounts is None:
            return None
        other = self.reserved.get(seat.name)
        reserved = NOTHING if other is None or other[0] is line else other[1]
        return amounts if _fit_beside(amounts, reserved, seat.free()) else None

    def _needs(self, line: Line, seat: Seat) -> Amounts | None:
        if self._now + line.request.running_ms / 1000 > seat.room.until:
            return None
        return needs(line.request, seat.room.has)

    def reserve(self, line: Line, seats: Mapping[str, Seat]) -> None:
        """See that a line is next somewhere: where it was, or where least is missing."""
        if len(self.reserved) >= RESERVED_MOST:
            return
        lacks = self._lacks(line, seats[line.reserved]) if line.reserved in seats else None
        if lacks is None:
            able = [(lacks, name) for name, seat in seats.items() if (lacks := self._lacks(line, seat)) is not None]
            line.reserved = min(able)[1] if able else ""
        if line.reserved:
            wanted = self._needs(line, seats[line.reserved])
            assert wanted is not None  # `_lacks` has asked
            self.reserved[line.reserved] = (line, wanted)

    def _lacks(self, line: Line, seat: Seat) -> tuple[int, ...] | None:
        """How much is missing there: nodes, places, memory, disk; None if waiting there would not help."""
        amounts = self._needs(line, seat)
        if amounts is None or seat.name in self.reserved or not seat.open:
            return None
        free = seat.free()
        return tuple(max(0, amounts[index] - free[index]) for index in (3, 0, 1, 2))

    def credit(self, seat: Seat) -> int:
        """How many tasks that ask for nothing may go there."""
        credit, other = seat.window - len(seat.held), self.reserved.get(seat.name)
        return credit if other is None else min(credit, seat.free()[0] - other[1][0])


def _fit_beside(amounts: Amounts, reserved: Amounts, free: Amounts) -> bool:
    """True if there is so much, and nothing is taken of what another one waits for."""
    return all(not wanted or wanted + other <= left for wanted, other, left in zip(amounts, reserved, free))
