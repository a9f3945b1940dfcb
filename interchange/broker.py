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
from collections.abc import Callable

from parsl_pool.interchange.columns import RECORD, Results, Tasks
from parsl_pool.interchange.named_tuple import NamedTuple


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


Effect = SendTasks | SendFunction | SendForget | Deliver | TasksLost | NotHeld


class _Seat:
    """A manager, as the broker sees it."""

    __slots__ = ("functions", "held", "idle_since", "name", "open", "queued", "window")

    def __init__(self, name: str, now: float) -> None:
        self.name = name
        self.idle_since = now  # means something while nothing is held
        self.window = 0
        self.held: set[int] = set()
        self.functions: set[int] = set()
        self.open = True  # takes tasks
        self.queued = False  # stands in Broker._ready


class Broker:
    """Matches waiting tasks with managers that have credit."""

    def __init__(self, clock: Callable[[], float] = lambda: 0.0) -> None:
        """clock: the time in seconds. It is asked only when a manager has nothing left, and decides nothing."""
        self._clock = clock
        self._waiting: dict[int, deque[Tasks]] = {}  # priority -> frames; no empty ones
        self._priorities: list[int] = []  # the keys, sorted: a lower number goes first
        self._functions: dict[int, bytes] = {}
        self._managers: dict[str, _Seat] = {}
        self._ready: deque[_Seat] = deque()  # managers with credit, the next to serve first
        self.waiting = 0
        self.late = 0  # results that came for tasks no longer known; they were dropped

    # -- from the client

    def tasks_submitted(self, tasks: Tasks) -> list[Effect]:
        """The client has more tasks."""
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

    def manager_registered(self, name: str, held: list[int]) -> list[Effect]:
        """A manager is there, perhaps again, and holds these tasks. One that was closed stays so."""
        old = self._managers.pop(name, None)
        seat = _Seat(name, self._clock())
        if old is not None:
            seat.open = old.open
            if not old.held:
                seat.idle_since = old.idle_since
        seat.held.update(held)
        claimed = len(seat.held)
        for other in self._managers.values():
            seat.held -= other.held
        self._managers[name] = seat
        lost = sorted(old.held - seat.held) if old is not None else []
        strange = claimed - len(seat.held)
        effects: list[Effect] = [TasksLost(name, lost)] if lost else []
        return effects + [NotHeld(name, strange)] if strange else effects

    def window_set(self, name: str, tasks: int) -> list[Effect]:
        """A manager wants to hold up to so many tasks."""
        seat = self._managers.get(name)
        if seat is None:
            return []
        seat.window = max(0, tasks)
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
        seat.held.difference_update(ids)
        if not seat.held:
            seat.idle_since = self._clock()
        effects: list[Effect] = [Deliver(results)]
        self._enqueue(seat)
        if self._priorities:
            effects += self._match()
        return effects

    def _results_of_others(self, seat: _Seat, results: Results) -> list[Effect]:
        """Some of these results are of tasks that the manager does not hold."""
        good = _only(results, seat.held)
        strange = results.count - (good.count if good is not None else 0)
        self.late += strange
        effects: list[Effect] = [NotHeld(seat.name, strange)]
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
        seat.held.difference_update(ids)
        if not seat.held:
            seat.idle_since = self._clock()
        frames = self._waiting.get(tasks.priority)
        if frames is None:
            frames = self._waiting[tasks.priority] = deque()
            insort(self._priorities, tasks.priority)
        frames.appendleft(tasks)
        self.waiting += tasks.count
        self._enqueue(seat)
        return self._match()

    def manager_gone(self, name: str) -> list[Effect]:
        """A manager is lost, with all that it held."""
        seat = self._managers.pop(name, None)
        if seat is None:
            return []
        seat.open = False
        return [TasksLost(name, sorted(seat.held))]

    # -- matching

    def _enqueue(self, seat: _Seat) -> None:
        # A manager is topped up when a good part of its window is free. Serving each small result at once would
        # cut the client's frames into ones and twos, which never grow together again.
        if not seat.queued and seat.open and seat.window - len(seat.held) >= max(1, seat.window // 4):
            seat.queued = True
            self._ready.append(seat)

    def _match(self) -> list[Effect]:
        """Hand out tasks while there are tasks, and managers with credit; in turn, in even shares."""
        effects: list[Effect] = []
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
            self._give(seat, min(credit, share), effects)
            if len(seat.held) < seat.window:
                ready.append(seat)
            else:
                seat.queued = False
        return effects

    def _give(self, seat: _Seat, count: int, effects: list[Effect]) -> None:
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
        unknown = tasks.function_numbers() - seat.functions
        for number in unknown:
            data = self._functions.get(number)
            if data is not None:
                seat.functions.add(number)
                effects.append(SendFunction(seat.name, number, data))
        seat.held.update(tasks.task_ids())
        effects.append(SendTasks(seat.name, tasks))

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
