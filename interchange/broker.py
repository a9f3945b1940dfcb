"""Which manager gets which tasks: the broker's decisions, without sockets or clocks.

Each method is an event; it returns effects, which the shell (interchange.py) performs. Not thread-safe: one
owner. Any event is legal in any state: a late result, a manager that nobody knows, a window that shrinks.

Flow control is by credit: a manager says how many tasks it wants to hold (its window). The backlog stays here, as
the client's frames; what was sent is remembered by id only, for the client keeps what it submitted until it has
the result.
"""

from __future__ import annotations

from bisect import insort
from collections import deque
from collections.abc import Callable, Iterator

from parsl_pool.interchange.columns import RECORD, Results, Tasks
from parsl_pool.interchange.named_tuple import NamedTuple
from parsl_pool.interchange.packing import Amounts, Has, Line, Packing, Room, Round, Seat, in_words


class SendTasks(NamedTuple):
    """Give a manager these tasks."""

    manager: str
    tasks: Tasks


class SendFunction(NamedTuple):
    """Give a manager this function, before tasks that name it."""

    manager: str
    number: int
    data: bytes


class SendForget(NamedTuple):
    """These functions will not be named again."""

    manager: str
    numbers: list[int]


class Deliver(NamedTuple):
    """Pass results on to the client."""

    results: Results


class TasksLost(NamedTuple):
    """A manager went away, and these tasks with it."""

    manager: str
    tasks: list[int]


class NotHeld(NamedTuple):
    """A manager spoke of so many tasks that it does not hold, which was ignored."""

    manager: str
    tasks: int


class Load(NamedTuple):
    """How much a manager has to do."""

    manager: str
    held: int
    window: int
    is_open: int  # 1: it is given tasks
    idle_s: float  # for how long it has held nothing


class Refuse(NamedTuple):
    """This task asks for what no manager can ever give it."""

    tasks: Tasks
    reason: str


Effect = SendTasks | SendFunction | SendForget | Deliver | TasksLost | NotHeld | Refuse


_NOTHING_KNOWN = Has(1, 1, 0, 0, 0, 0, 0)


class Broker:
    """Matches waiting tasks with managers that have credit."""

    def __init__(self, clock: Callable[[], float] = lambda: 0.0) -> None:
        """clock: the time in seconds; asked when a manager has nothing left, and for tasks that ask for something."""
        self._clock = clock
        self._packing = Packing()
        self._order = 0  # of the task that came last while others waited that ask for something
        self.managers_most = 0  # so many managers there can be at once; 0: nobody knows
        self._waiting: dict[int, deque[Tasks]] = {}  # priority -> frames; no empty ones
        self._priorities: list[int] = []  # the keys, sorted: a lower number goes first
        self._functions: dict[int, bytes] = {}
        self._managers: dict[str, Seat] = {}
        self._ranks: dict[str, int] = {}  # managers to be given tasks before others, and the order among them
        self._ready: deque[Seat] = deque()  # managers with credit, the next to serve first
        self.waiting = 0
        self.late = 0  # results that came for tasks no longer known; they were dropped

    # -- from the client

    def tasks_submitted(self, tasks: Tasks) -> list[Effect]:
        """The client has more tasks."""
        if tasks.request is not None or self._packing:
            self._order += 1
            tasks.order = self._order
            if tasks.request is not None:
                self._packing.add(tasks, self._order)
                return self._refusals() + self._match()
        frames = self._waiting.get(tasks.priority)
        if frames is None:
            frames = self._waiting[tasks.priority] = deque()
            insort(self._priorities, tasks.priority)
        frames.append(tasks)
        self.waiting += tasks.count
        return self._match()

    def function_defined(self, number: int, data: bytes) -> list[Effect]:
        """The client defines a function; managers get it with the first task that names it."""
        self._functions[number] = data
        for seat in self._managers.values():
            seat.functions.discard(number)
        return []

    def functions_forgotten(self, numbers: list[int]) -> list[Effect]:
        """The client will not name these functions again."""
        effects: list[Effect] = []
        for number in numbers:
            self._functions.pop(number, None)
        for seat in self._managers.values():
            known = [number for number in numbers if number in seat.functions]
            if known:
                seat.functions.difference_update(known)
                effects.append(SendForget(seat.name, known))
        return effects

    # -- from managers

    def manager_registered(
        self, name: str, held: list[int], has: Has | None = None, settled: dict[int, Amounts] | None = None
    ) -> list[Effect]:
        """A manager is there, perhaps again, and holds these tasks. settled: what some of them have taken.

        One that was closed stays so.
        """
        old = self._managers.pop(name, None)
        now = self._clock()
        seat = Seat(name, Room(has or _NOTHING_KNOWN, now), now)
        if old is not None:
            seat.open = old.open
            if not old.held:
                seat.idle_since = old.idle_since
        seat.held.update(held)
        claimed = len(seat.held)
        for other in self._managers.values():
            seat.held -= other.held
        strange = claimed - len(seat.held)
        if old is not None:
            seat.known = seat.held - old.held  # it keeps its results until it knows that they are with the client
            seat.held &= old.held
        for task, amounts in (settled or {}).items():
            if task in seat.held:
                seat.room.take(task, amounts)
        seat.rank = self._rank_of(name)
        self._managers[name] = seat
        lost = sorted(old.held - seat.held) if old is not None else []
        effects: list[Effect] = [TasksLost(name, lost)] if lost else []
        if strange:
            effects.append(NotHeld(name, strange))
        return effects + self._refusals() if self._packing else effects

    def managers_ranked(self, names: list[str]) -> list[Effect]:
        """Of managers with room, these get tasks in this order, each as many as it wants, before all others. None: all
        in turn, in even shares."""
        self._ranks = {name: rank for rank, name in enumerate(names)}
        for seat in self._managers.values():
            seat.rank = self._rank_of(seat.name)
        return []

    def _rank_of(self, name: str) -> int:
        return self._ranks.get(name, len(self._ranks))

    def window_set(self, name: str, tasks: int, lent: int = 0, least: int = 1) -> list[Effect]:
        """A manager wants to hold up to so many tasks.

        lent: places of tasks there that wait for others. least: it is sent more when so many more have room.
        """
        seat = self._managers.get(name)
        if seat is None:
            return []
        seat.told = max(0, tasks)
        seat.least = least
        seat.room.lent = max(0, lent)
        seat.window = max(0, seat.told - seat.room.extra)
        self._enqueue(seat)
        return self._match()

    def manager_closed(self, name: str) -> list[Effect]:
        """Give this manager no more tasks; what it holds it finishes."""
        seat = self._managers.get(name)
        if seat is not None:
            seat.open = False
        return []

    def results_arrived(self, name: str, results: Results) -> list[Effect]:
        """A manager has results. Those of a manager that was given up are dropped: its tasks run elsewhere."""
        seat = self._managers.get(name)
        if seat is None:
            self.late += results.count
            return []
        ids = results.task_ids()
        if not seat.held.issuperset(ids):
            return self._results_of_others(seat, results)
        seat.release(ids)
        if not seat.held:
            seat.idle_since = self._clock()
        effects: list[Effect] = [Deliver(results)]
        self._enqueue(seat)
        if self._priorities or self._packing:
            effects += self._match()
        return effects

    def _results_of_others(self, seat: Seat, results: Results) -> list[Effect]:
        """Some of these results are of tasks that the manager does not hold."""
        good = _only(results, seat.held)
        strange = results.count - (good.count if good is not None else 0)
        self.late += strange
        again = seat.known.intersection(results.task_ids())
        seat.known -= again
        effects: list[Effect] = [NotHeld(seat.name, strange - len(again))] if strange > len(again) else []
        return effects + self.results_arrived(seat.name, good) if good is not None else effects

    def tasks_returned(self, name: str, tasks: Tasks) -> list[Effect]:
        """A manager gives back tasks that it has not begun."""
        seat = self._managers.get(name)
        if seat is None:
            return []
        ids = tasks.task_ids()
        if not seat.held.issuperset(ids):
            self.late += tasks.count
            return [NotHeld(name, len(set(ids) - seat.held))]
        seat.release(ids)
        if not seat.held:
            seat.idle_since = self._clock()
        self._enqueue(seat)
        if tasks.request is not None:
            self._packing.add_first(tasks)
            return self._match()
        frames = self._waiting.get(tasks.priority)
        if frames is None:
            frames = self._waiting[tasks.priority] = deque()
            insort(self._priorities, tasks.priority)
        frames.appendleft(tasks)
        self.waiting += tasks.count
        return self._match()

    def manager_gone(self, name: str) -> list[Effect]:
        """A manager is lost, with all that it held."""
        seat = self._managers.pop(name, None)
        if seat is None:
            return []
        seat.open = False
        return [TasksLost(name, sorted(seat.held))]

    # -- matching

    def _enqueue(self, seat: Seat) -> None:
        # The manager says how much of its window is to be free before it is topped up. Serving each small result at
        # once would cut the client's frames into ones and twos, which never grow together again.
        least = max(1, min(seat.least, seat.window))
        if not seat.queued and seat.open and seat.window - len(seat.held) >= least:
            seat.queued = True
            self._ready.append(seat)

    def _match(self) -> list[Effect]:
        """Hand out tasks while there are tasks, and managers with credit; in turn, in even shares."""
        if self._packing:
            return self._match_in_order()
        effects: list[Effect] = []
        if self._ranks:
            self._ready = deque(sorted(self._ready, key=lambda seat: seat.rank))
        ready = self._ready
        turn = share = 0  # how many are still to be served in this round, and what is the share of each
        while self._priorities and ready:
            seat = ready.popleft()
            credit = seat.window - len(seat.held)
            if credit <= 0 or not seat.open or self._managers.get(seat.name) is not seat:
                seat.queued = False
                continue
            if turn <= 0:
                turn = len(ready) + 1
                share = -(-self.waiting // turn)
            turn -= 1
            self._give(seat, credit if self._ranks else min(credit, share), effects)
            if len(seat.held) < seat.window:
                ready.appendleft(seat) if self._ranks else ready.append(seat)
            else:
                seat.queued = False
        return effects

    def _give(self, seat: Seat, count: int, effects: list[Effect]) -> None:
        priority = self._priorities[0]
        frames = self._waiting[priority]
        tasks = frames.popleft()
        if tasks.count > count:
            tasks, rest = tasks.split(count)
            frames.appendleft(rest)
        elif not frames:
            del self._waiting[priority]
            self._priorities.pop(0)
        self.waiting -= tasks.count
        seat.held.update(tasks.task_ids())
        self._send(seat, tasks, effects)

    def _send(self, seat: Seat, tasks: Tasks, effects: list[Effect]) -> None:
        unknown = tasks.function_numbers() - seat.functions
        for number in unknown:
            data = self._functions.get(number)
            if data is not None:
                seat.functions.add(number)
                effects.append(SendFunction(seat.name, number, data))
        effects.append(SendTasks(seat.name, tasks))

    # -- matching, while there are tasks that ask for something

    def _match_in_order(self) -> list[Effect]:
        """As _match, by priority and arrival, with what asks for something among the rest."""
        effects: list[Effect] = []
        if self._ranks:
            self._ready = deque(sorted(self._ready, key=lambda seat: seat.rank))
        look = Round(self._clock())
        lines = self._packing.lines()
        is_open = True  # for tasks that ask for nothing
        while lines or (is_open and self._priorities):
            if is_open and self._priorities and not (lines and self._is_next(lines[0])):
                is_open = self._give_one(look, effects)
                continue
            line = lines.pop(0)
            if not self._place(line, look, effects):
                look.reserve(line, self._managers)
            elif line.tasks:
                insort(lines, line)
        return effects

    def _is_next(self, line: Line) -> bool:
        """True if it comes before the tasks that ask for nothing."""
        priority = self._priorities[0]
        return (line.priority, line.order) < (priority, self._waiting[priority][0].order)

    def _place(self, line: Line, look: Round, effects: list[Effect]) -> bool:
        """Send the first task of a line somewhere. False if there is no room for it."""
        best: tuple[tuple[int, int], Seat, Amounts] | None = None
        for seat in self._ready_seats():
            amounts = look.fits(line, seat)
            if amounts is None:
                continue
            left = seat.free()[3] - amounts[3]  # nodes: those of one block are to stay together
            if best is None or (seat.rank, left) < best[0]:
                best = (seat.rank, left), seat, amounts
            if not (seat.rank or left):
                break  # the first one that fits
        if best is None:
            return False
        _, seat, amounts = best
        tasks = self._packing.take(line)
        seat.settle(tasks.task_ids()[0], amounts)
        self._send(seat, tasks, effects)
        return True

    def _ready_seats(self) -> Iterator[Seat]:
        """Each manager that wants tasks, once; the one at which the caller stops comes first next time."""
        ready = self._ready
        for _ in range(len(ready)):
            seat = ready[0]
            if seat.open and seat.window > len(seat.held) and self._managers.get(seat.name) is seat:
                yield seat
                ready.rotate(-1)
            else:
                ready.popleft()
                seat.queued = False

    def _give_one(self, look: Round, effects: list[Effect]) -> bool:
        """Give some of the first tasks that ask for nothing to the next manager that may have any."""
        for seat in self._ready_seats():
            credit = look.credit(seat)
            if credit > 0:
                share = credit if self._ranks else -(-self.waiting // len(self._ready))
                self._give(seat, min(credit, share), effects)
                self._ready.rotate(0 if self._ranks else -1)
                return True
        return False

    def _refusals(self) -> list[Effect]:
        """What no manager can hold is refused, once all have come that there can be."""
        if not self.managers_most or len(self._managers) < self.managers_most:
            return []
        kinds = {seat.room.has for seat in self._managers.values()}
        effects: list[Effect] = []
        for line in self._packing.hopeless(kinds):
            reason = f"no manager can ever hold it; the largest has {in_words(max(kinds))}"
            while line.tasks:
                effects.append(Refuse(self._packing.take(line), reason))
        return effects

    # -- questions

    def unknown_functions(self, tasks: Tasks) -> set[int]:
        """Functions that these tasks name, and that have not been defined."""
        return tasks.function_numbers() - self._functions.keys()

    def holder(self, task: int) -> str | None:
        """The manager that holds a task."""
        for seat in self._managers.values():
            if task in seat.held:
                return seat.name
        return None

    def holds(self, name: str, task: int) -> bool:
        """True if that manager has this task."""
        seat = self._managers.get(name)
        return seat is not None and task in seat.held

    def loads(self) -> list[Load]:
        """How much each manager has to do."""
        now = self._clock()
        return [
            Load(seat.name, len(seat.held), seat.window, int(seat.open), 0.0 if seat.held else now - seat.idle_since)
            for seat in self._managers.values()
        ]

    @property
    def asking(self) -> int:
        """How many tasks wait that ask for something; they are not among those in `waiting`."""
        return self._packing.waiting

    @property
    def placed(self) -> int:
        """How many tasks managers hold."""
        return sum(len(seat.held) for seat in self._managers.values())


def _only(results: Results, wanted: set[int]) -> Results | None:
    """Those of the results that are of wanted tasks. None if there are none, or these are no results."""
    ids, records, position, left = [], [], 0, set(wanted)
    while position <= len(results.records) - RECORD.size:
        task, size, _ = RECORD.unpack_from(results.records, position)
        end = position + RECORD.size + size
        if task in left:
            left.discard(task)
            ids.append(task.to_bytes(8, "little"))
            records.append(results.records[position:end])
        position = end
    if not ids or position != len(results.records):
        return None
    return Results(len(ids), b"".join(ids), b"".join(records))
