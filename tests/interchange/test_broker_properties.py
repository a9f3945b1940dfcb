"""Every event of the broker in every state of the manager that it is about, against a model of its books."""

from collections import deque

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from parsl_pool.interchange.broker import (
    Broker,
    Deliver,
    Effect,
    Load,
    NotHeld,
    SendForget,
    SendFunction,
    SendTasks,
    TasksLost,
)
from parsl_pool.interchange.columns import Tasks
from tests.interchange.drawn import Drawn, run_until_all_is_drawn
from tests.interchange.frames import results, tasks

MANAGERS = st.sampled_from(["a", "b", "c"])
FUNCTIONS = st.integers(1, 3)
SEATS = ["unknown", "new", "hungry", "full", "overfull", "closed"]
EVENTS = [
    "tasks_submitted", "function_defined", "functions_forgotten", "manager_registered", "window_set",
    "manager_closed", "results_arrived", "late_results", "tasks_returned", "strangers_returned",
    "manager_gone", "managers_ranked",
]  # fmt: skip

drawn = Drawn(
    [f"{seat}, {backlog}" for seat in SEATS for backlog in ("empty", "waiting")],
    EVENTS,
    # What the broker is for: nothing waits while a manager has credit. full: it holds something.
    impossible=[("hungry, waiting", event) for event in EVENTS],
)


class ModelSeat:
    """A manager, as the model sees it."""

    def __init__(self, now: float) -> None:
        self.idle_since = now
        self.window = 0
        self.is_open = True
        self.held: dict[int, Tasks] = {}  # id -> the frame it came in
        self.functions: dict[int, bytes] = {}
        self.known: list[int] = []  # tasks whose results it has said that it will tell again

    def state(self) -> str:
        if not self.is_open:
            return "closed"
        if not self.window and not self.held:
            return "new"
        credit = self.window - len(self.held)
        return "hungry" if credit > 0 else "overfull" if credit < 0 else "full"


class BrokerMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.broker = Broker(lambda: self.now)
        self.seats: dict[str, ModelSeat] = {}
        self.waiting: dict[int, deque[int]] = {}
        self.functions: dict[int, bytes] = {}
        self.of_task: dict[int, tuple[int, int]] = {}  # id -> its priority and function
        self.next_id = 1
        self.done: set[int] = set()
        self.lost: set[int] = set()

    @initialize(state=st.sampled_from(SEATS), backlog=st.integers(0, 3), others=st.booleans())
    def begin_in(self, state: str, backlog: int, others: bool) -> None:
        """A manager in each state, with a backlog or without; chance alone seldom leads to some of them."""
        if others:
            self.manager_registered("b", 1)
        if state != "unknown":
            self.manager_registered("a", 0)
        for window in {"hungry": [4], "full": [2], "overfull": [2, 1]}.get(state, []):
            if state != "hungry":
                self.tasks_submitted(2, 0, 1)
            self.window_set("a", window)
        if state == "closed":
            self.manager_closed("a")
        if backlog:
            self.tasks_submitted(backlog, 1, 2)

    # -- what the broker does

    def note(self, event: str, *names: str) -> None:
        for name in names or self.seats or ["a"]:
            state = self.seats[name].state() if name in self.seats else "unknown"
            drawn.note(f"{state}, {'waiting' if any(self.waiting.values()) else 'empty'}", event)

    def perform(self, effects: list[Effect]) -> None:
        for effect in effects:
            match effect:
                case SendTasks():
                    self.send_tasks(effect.manager, effect.tasks)
                case SendFunction():
                    assert self.functions[effect.number] == effect.data
                    assert self.seats[effect.manager].functions.get(effect.number) != effect.data, "sent twice"
                    self.seats[effect.manager].functions[effect.number] = effect.data
                case SendForget():
                    for number in effect.numbers:
                        del self.seats[effect.manager].functions[number]
                case Deliver():
                    self.done.update(effect.results.task_ids())
                case TasksLost() | NotHeld():
                    raise AssertionError("only managers that go lose tasks, and none speaks of others'")

    def send_tasks(self, name: str, frame: Tasks) -> None:
        seat = self.seats[name]
        assert seat.is_open, "a closed manager gets no task"
        priority = min(priority for priority, ids in self.waiting.items() if ids)
        assert frame.priority == priority, "the most urgent go first"
        for task in frame.task_ids():
            assert task == self.waiting[priority].popleft(), "in the order of submission"
            seat.held[task] = frame
            function = self.of_task[task][1]
            assert seat.functions.get(function) == self.functions.get(function), "a function goes before its task"
        assert len(seat.held) <= seat.window, "no more than it has asked for"
        assert frame.payload == b"".join(b"task %d" % task for task in frame.task_ids())

    def takes_from(self, seat: ModelSeat, ids: list[int]) -> None:
        for task in ids:
            del seat.held[task]
        if ids and not seat.held:
            seat.idle_since = self.now

    @rule(seconds=st.sampled_from([0.5, 2.0]))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds

    # -- the client's events

    @rule(count=st.integers(1, 6), priority=st.integers(-1, 1), function=FUNCTIONS)
    def tasks_submitted(self, count: int, priority: int, function: int) -> None:
        self.note("tasks_submitted")
        ids = range(self.next_id, self.next_id + count)
        self.next_id += count
        self.of_task.update({task: (priority, function) for task in ids})
        self.waiting.setdefault(priority, deque()).extend(ids)
        self.perform(self.broker.tasks_submitted(tasks(ids, function, priority)))

    @rule(number=FUNCTIONS, data=st.sampled_from([b"one", b"two"]))
    def function_defined(self, number: int, data: bytes) -> None:
        self.note("function_defined")
        self.functions[number] = data
        for seat in self.seats.values():
            seat.functions.pop(number, None)
        self.perform(self.broker.function_defined(number, data))

    @rule(numbers=st.lists(FUNCTIONS, max_size=2, unique=True))
    def functions_forgotten(self, numbers: list[int]) -> None:
        self.note("functions_forgotten")
        for number in numbers:
            self.functions.pop(number, None)
        self.perform(self.broker.functions_forgotten(numbers))

    # -- managers' events

    @rule(name=MANAGERS, strangers=st.integers(0, 2))
    def manager_registered(self, name: str, strangers: int) -> None:
        self.note("manager_registered", name)
        is_known = name in self.seats
        old = self.seats.get(name, ModelSeat(self.now))
        kept = dict(list(old.held.items())[1:])  # it has lost the first, and says that it has some more
        new = self.seats[name] = ModelSeat(self.now if old.held else old.idle_since)
        new.is_open = old.is_open
        more = range(self.next_id, self.next_id + strangers)
        self.next_id += strangers
        said = [*kept, *more]
        if is_known:  # it can have them from us only, and so they are over
            new.known = list(more)
        else:  # from an earlier interchange
            for task in more:
                self.of_task[task] = (0, 1)
                kept[task] = tasks([task])
        new.held = kept
        lost = sorted(set(old.held) - set(kept))
        self.lost.update(lost)
        effects = self.broker.manager_registered(name, said)
        assert [effect for effect in effects if effect != TasksLost(name, [])] == [TasksLost(name, lost)] * bool(lost)

    @rule(name=MANAGERS, window=st.sampled_from([-1, 0, 1, 2, 5]))
    def window_set(self, name: str, window: int) -> None:
        self.note("window_set", name)
        if name in self.seats:
            self.seats[name].window = max(0, window)
        self.perform(self.broker.window_set(name, window))

    @rule(name=MANAGERS)
    def manager_closed(self, name: str) -> None:
        self.note("manager_closed", name)
        if name in self.seats:
            self.seats[name].is_open = False
        self.perform(self.broker.manager_closed(name))

    @rule(names=st.lists(MANAGERS, unique=True))
    def managers_ranked(self, names: list[str]) -> None:
        """Who gets tasks is another one's choice then; what the broker is for stays as it is."""
        self.note("managers_ranked")
        self.perform(self.broker.managers_ranked(names))

    @rule(name=MANAGERS, data=st.data())
    def results_arrived(self, name: str, data: st.DataObject) -> None:
        self.note("results_arrived", name)
        seat = self.seats.get(name)
        if seat is None or not seat.held:
            return
        ids = data.draw(st.lists(st.sampled_from(sorted(seat.held)), min_size=1, unique=True))
        assert self.done.isdisjoint(ids)
        self.takes_from(seat, ids)
        self.perform(self.broker.results_arrived(name, results(ids)))
        assert self.done.issuperset(ids)

    @rule(name=MANAGERS)
    def late_results(self, name: str) -> None:
        """Of tasks that it was not given, or no longer has."""
        self.note("late_results", name)
        late = self.broker.late
        effects = self.broker.results_arrived(name, results([1_000_000, 1_000_001]))
        assert effects == ([NotHeld(name, 2)] if name in self.seats else [])
        assert self.broker.late == late + 2

    @rule(name=MANAGERS, strangers=st.integers(0, 1))
    def results_told_again(self, name: str, strangers: int) -> None:
        """As it has said when it came back; once."""
        seat = self.seats.get(name)
        if seat is None or not seat.known:
            return
        known, seat.known = seat.known, []
        late = self.broker.late
        effects = self.broker.results_arrived(name, results([*known, *[1_000_000] * strangers]))
        assert effects == [NotHeld(name, strangers)] * strangers
        assert self.broker.late == late + len(known) + strangers
        assert self.broker.results_arrived(name, results(known)) == [NotHeld(name, len(known))]

    @rule(name=MANAGERS, data=st.data())
    def results_of_others(self, name: str, data: st.DataObject) -> None:
        """Beside its own: those count."""
        seat = self.seats.get(name)
        others = [task for other in self.seats if other != name for task in self.seats[other].held]
        if seat is None or not others:
            return
        ids = data.draw(st.lists(st.sampled_from(sorted(seat.held)), unique=True)) if seat.held else []
        self.takes_from(seat, ids)
        first, *effects = self.broker.results_arrived(name, results([*others, *ids]))
        assert first == NotHeld(name, len(others))
        self.perform(effects)
        assert self.done.issuperset(ids) and self.done.isdisjoint(others)

    @rule(name=MANAGERS)
    def registered_with_what_others_hold(self, name: str) -> None:
        others = [task for other in self.seats if other != name for task in self.seats[other].held]
        if not others:
            return
        old = self.seats.get(name)
        new = self.seats[name] = ModelSeat(self.now)
        if old is not None:
            new.held, new.is_open = old.held, old.is_open
            new.idle_since = self.now if old.held else old.idle_since
        effects = self.broker.manager_registered(name, [*others, *new.held])
        assert [effect for effect in effects if effect != TasksLost(name, [])] == [NotHeld(name, len(others))]

    @rule(name=MANAGERS, data=st.data())
    def tasks_returned(self, name: str, data: st.DataObject) -> None:
        self.note("tasks_returned", name)
        seat = self.seats.get(name)
        if seat is None or not seat.held:
            return
        first = data.draw(st.sampled_from(sorted(seat.held)))
        priority, function = self.of_task[first]
        ids = [task for task in sorted(seat.held) if task >= first and self.of_task[task] == (priority, function)]
        self.takes_from(seat, ids)
        self.waiting.setdefault(priority, deque()).extendleft(reversed(ids))
        self.perform(self.broker.tasks_returned(name, tasks(ids, function, priority)))

    @rule(name=MANAGERS)
    def strangers_returned(self, name: str) -> None:
        self.note("strangers_returned", name)
        effects = self.broker.tasks_returned(name, tasks([1_000_000]))
        assert effects == ([NotHeld(name, 1)] if name in self.seats else [])

    @rule(name=MANAGERS)
    def manager_gone(self, name: str) -> None:
        self.note("manager_gone", name)
        seat = self.seats.pop(name, None)
        expected = [] if seat is None else [TasksLost(name, sorted(seat.held))]
        assert self.broker.manager_gone(name) == expected
        self.lost.update(seat.held if seat is not None else ())

    # -- always

    @invariant()
    def nothing_waits_while_a_manager_has_credit(self) -> None:
        if any(self.waiting.values()):
            assert not [name for name, seat in self.seats.items() if seat.state() == "hungry"]

    @invariant()
    def a_task_is_waiting_or_placed_or_done_or_lost(self) -> None:
        waiting = [task for ids in self.waiting.values() for task in ids]
        placed = [task for seat in self.seats.values() for task in seat.held]
        assert self.broker.waiting == len(waiting)
        assert self.broker.placed == len(placed)
        assert len(waiting) + len(placed) == len({*waiting, *placed})
        assert {*waiting, *placed, *self.done, *self.lost} == set(self.of_task)
        assert all(self.broker.holder(task) == name for name, seat in self.seats.items() for task in seat.held)

    @invariant()
    def the_broker_tells_its_managers(self) -> None:
        expected = [
            Load(
                name, len(seat.held), seat.window, int(seat.is_open),
                0.0 if seat.held else self.now - seat.idle_since,
            )
            for name, seat in self.seats.items()
        ]  # fmt: skip
        assert sorted(self.broker.loads()) == sorted(expected)

    @precondition(lambda self: self.seats)
    @rule()
    def everything_is_finished_in_the_end(self) -> None:
        """From here: each manager takes and finishes what it is given, until nothing waits."""
        name = next(iter(self.seats))
        if not self.seats[name].is_open:
            return
        self.window_set(name, 3)
        while any(self.waiting.values()):
            for other, seat in self.seats.items():
                if seat.held:
                    ids = list(seat.held)
                    self.takes_from(seat, ids)
                    self.perform(self.broker.results_arrived(other, results(ids)))
        assert not self.broker.waiting


def test_every_event_in_every_state() -> None:
    run_until_all_is_drawn(BrokerMachine, drawn, examples=80, steps=30)
