"""The manager's core by example, and any event in any state.

test_manager_core_with_workers.py plays it in earnest.
"""

from collections import Counter

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from parsl_pool.interchange import manager_core as core
from parsl_pool.interchange.columns import single
from parsl_pool.interchange.holdings import RELIEVE_NS
from parsl_pool.interchange.manager_core import REFUSED_NS, ManagerCore
from parsl_pool.interchange.manager_effects import (
    Drained,
    Effect,
    GiveBack,
    GiveUp,
    Lost,
    Send,
    SetWindow,
    Start,
    TakeBack,
)
from parsl_pool.interchange.seat import SeatState
from parsl_pool.interchange.wire import CANCELLED, OK, RAISED, SKIPPED
from tests.interchange.drawn import Drawn, run_until_all_is_drawn
from tests.interchange.frames import tasks

SHORT_NS = 10_000


def running(workers: int, max_tasks: int = 0) -> ManagerCore:
    """A core whose workers are ready, and for which function 1 is short."""
    manager = ManagerCore(workers, max_tasks)
    manager.begin(0)
    for number in list(manager.seats):
        manager.worker_ready(number, 0)
    manager.estimates[1] = SHORT_NS
    return manager


def sent(effects: list[Effect]) -> dict[int, list[int]]:
    """Worker -> the tasks that it is sent."""
    tasks_of: dict[int, list[int]] = {}
    for effect in effects:
        if isinstance(effect, Send):
            tasks_of.setdefault(effect.worker, []).extend(effect.tasks.task_ids())
    return tasks_of


def but_windows(effects: list[Effect]) -> list[Effect]:
    return [effect for effect in effects if not isinstance(effect, SetWindow)]


def test_it_begins_with_its_workers_and_asks_for_as_many_tasks() -> None:
    assert ManagerCore(2).begin(0) == [Start(0), Start(1), SetWindow(2, 0, 1)]


def test_a_worker_gets_nothing_before_it_is_ready() -> None:
    manager = ManagerCore(1)
    manager.begin(0)
    assert manager.tasks_arrived(tasks([1]), 0) == []
    assert sent(manager.worker_ready(0, 0)) == {0: [1]}


def test_tasks_of_unknown_length_go_one_at_a_time() -> None:
    manager = running(2)
    assert sorted(sent(manager.tasks_arrived(tasks([1, 2, 3], 9), 0)).values()) == [[1], [2]]
    assert manager.queued == 1


def test_short_tasks_are_shared_out_in_batches() -> None:
    manager = running(2)
    batches = sent(manager.tasks_arrived(tasks(range(1, 11)), 0))
    assert len(batches) == 2 and all(2 < len(batch) < 8 for batch in batches.values())


def test_a_batch_is_about_a_millisecond_of_work() -> None:
    manager = running(1)
    manager.estimates[1] = core.BATCH_NS // 4
    effects = manager.tasks_arrived(tasks(range(1, 20)), 0)
    assert {effect.tasks.count for effect in effects if isinstance(effect, Send)} == {4}
    assert sent(effects) == {0: list(range(1, 9))}  # one batch, and one ahead


def test_one_long_call_makes_a_function_long_for_a_while() -> None:
    manager = running(1)
    manager.tasks_arrived(tasks([1]), 0)
    manager.finished(0, [(1, OK)], 50 * core.BATCH_NS, True, 1)
    assert sent(manager.tasks_arrived(tasks([2, 3]), 2)) == {0: [2]}
    task = 2
    while manager.estimates[1] >= core.BATCH_NS:
        manager.finished(0, [(task, OK)], SHORT_NS, True, 3)
        task += 1
        manager.tasks_arrived(tasks([task + 1]), 3)
        assert task < 200, "it is never forgotten"


def test_a_dead_worker_costs_the_task_that_it_ran_and_no_other() -> None:
    manager = running(1)
    manager.tasks_arrived(tasks([1, 2, 3]), 0)
    assert but_windows(manager.worker_ended(0, 1, 1)) == [Lost(0, 1), Start(1)]
    assert sent(manager.worker_ready(1, 2)) == {1: [2, 3]}
    assert manager.held_tasks() == [2, 3]


def test_a_worker_that_dies_between_tasks_costs_nothing() -> None:
    manager = running(1)
    manager.tasks_arrived(tasks([1, 2]), 0)
    assert but_windows(manager.worker_ended(0, 0, 1)) == [Start(1)]
    assert manager.held_tasks() == [1, 2]


def test_what_a_dead_worker_had_finished_and_nobody_got_is_lost_and_does_not_run_again() -> None:
    manager = running(1)
    manager.tasks_arrived(tasks([1]), 0)
    manager.finished(0, [(1, OK)], SHORT_NS, True, 1)
    assert len(sent(manager.tasks_arrived(tasks([2, 3, 4, 5]), 1))[0]) > 3, "a batch"
    assert but_windows(manager.worker_ended(0, 0, 2, started=3)) == [Lost(0, 2), Lost(0, 3), Start(1)]
    assert manager.held_tasks() == [4, 5]


def test_a_count_of_begun_tasks_that_makes_no_sense_is_not_believed() -> None:
    manager = running(1)
    manager.tasks_arrived(tasks([1, 2]), 0)
    assert but_windows(manager.worker_ended(0, 1, 1, started=1 << 60)) == [Lost(0, 1), Start(1)]
    assert manager.held_tasks() == [2]


def test_workers_that_never_become_ready_are_given_up() -> None:
    manager = ManagerCore(1, start_failures=3)
    manager.begin(0)
    assert manager.worker_ended(0, 0, 1) == [Start(1)]
    assert manager.worker_ended(1, 0, 2) == [Start(2)]
    (effect,) = manager.worker_ended(2, 0, 3)
    assert isinstance(effect, GiveUp) and "3 workers in a row" in effect.reason


def test_a_worker_that_the_system_refuses_is_tried_again_later_while_others_are_there() -> None:
    manager = ManagerCore(2)
    assert but_windows(manager.begin(0)) == [Start(0), Start(1)]
    assert manager.worker_refused(1, 1) == []
    assert manager.fill(2) == [], "not yet"
    assert manager.fill(1 + REFUSED_NS) == [Start(2)]


def test_when_the_system_refuses_every_worker_the_manager_gives_up() -> None:
    manager = ManagerCore(2)
    manager.begin(0)
    for number in (1, 3, 5):
        assert manager.worker_refused(number - 1, number) == []
        last = manager.worker_refused(number, number)
        if number < 5:
            assert last == [Start(number + 1), Start(number + 2)]
    assert isinstance(last[0], GiveUp)


def test_one_worker_that_became_ready_forgives_the_failures_before() -> None:
    manager = ManagerCore(1, start_failures=2)
    manager.begin(0)
    manager.worker_ended(0, 0, 1)
    manager.worker_ready(1, 2)
    manager.worker_ended(1, 0, 3)
    assert manager.worker_ended(2, 0, 4) == [Start(3)]


@pytest.mark.parametrize("most", [1, 2, 5])
def test_a_worker_is_replaced_after_as_many_tasks_as_it_may_run(most: int) -> None:
    manager = running(1, most)
    assert len(sent(manager.tasks_arrived(tasks(range(1, 20)), 0))[0]) <= most
    while 0 in manager.seats and manager.seats[0].state is SeatState.READY:
        done = [(task, OK) for task in manager.seats[0].held]
        effects = manager.finished(0, done, SHORT_NS, True, 1)
    assert manager.seats[0].sent == most
    assert Start(1) in effects


def test_what_waits_behind_a_long_task_is_taken_back() -> None:
    manager = running(1)
    manager.tasks_arrived(tasks([1, 2, 3]), 0)
    assert manager.watched() == [0]
    assert manager.tick(core.STUCK_NS - 1) == []
    assert manager.tick(core.STUCK_NS) == [TakeBack(0, 1, 3)]
    assert manager.watched() == []
    manager.taken_back(0, 1, core.STUCK_NS)
    assert manager.queued == 2 and list(manager.seats[0].held) == [1]
    assert manager.estimates[1] >= core.STUCK_NS


def test_a_cancelled_task_is_over() -> None:
    manager = running(1)
    manager.tasks_arrived(tasks([1]), 0)
    manager.finished(0, [(1, CANCELLED)], 0, True, 1)
    assert manager.held_tasks() == [] and list(manager.idle) == [0]


def test_a_queued_task_can_be_removed_from_the_middle_of_its_frame() -> None:
    manager = ManagerCore(1)
    manager.tasks_arrived(tasks([1, 2, 3]), 0)
    manager.tasks_arrived(tasks([4]), 0)
    assert manager.remove_queued(2) and not manager.remove_queued(2)
    assert manager.held_tasks() == [1, 3, 4] and manager.queued == 3
    assert manager.remove_queued(4) and manager.held_tasks() == [1, 3]


def test_the_window_grows_with_short_tasks_and_shrinks_with_long_ones() -> None:
    manager = running(2)
    manager.tasks_arrived(tasks([1]), 0)
    (number,) = [number for number, seat in manager.seats.items() if seat.held]
    deep = 2 * (core.WINDOW_NS // SHORT_NS)
    assert SetWindow(deep, 0, deep // 4) in manager.finished(number, [(1, OK)], SHORT_NS, True, 1)
    manager.tasks_arrived(tasks([2]), 2)
    (number,) = [number for number, seat in manager.seats.items() if seat.held]
    assert SetWindow(2, 0, 1) in manager.finished(number, [(2, OK)], 100 * core.BATCH_NS, True, 3)


def test_nothing_starts_after_stop() -> None:
    manager = running(1)
    manager.stop()
    assert but_windows(manager.worker_ended(0, 0, 1)) == []


def test_workers_start_when_there_are_tasks_for_them_if_that_is_asked_for() -> None:
    manager = ManagerCore(3, eager=False)
    assert but_windows(manager.begin(0)) == []
    assert but_windows(manager.tasks_arrived(tasks([1, 2]), 0)) == [Start(0), Start(1)]
    manager.worker_ready(0, 1)
    manager.worker_ready(1, 1)
    assert but_windows(manager.tasks_arrived(tasks([3, 4]), 2)) == [Start(2)]


def test_a_worker_that_has_run_its_last_task_does_not_keep_another_from_starting() -> None:
    """It may still be busy for long: its exit handlers are the user's."""
    manager = ManagerCore(1, 1, eager=False)
    manager.tasks_arrived(tasks([1]), 0)
    manager.worker_ready(0, 1)
    manager.finished(0, [(1, OK)], 0, True, 2)
    assert Start(1) in manager.tasks_arrived(tasks([2]), 3)


@pytest.mark.parametrize("place", [0, 1, 2])
def test_a_single_task_of_a_frame_is_the_same_task(place: int) -> None:
    frame = tasks([5, 6, 7], [1, 2, 3], -4, [b"a", b"", b"ccc"])
    one = single(frame, place)
    assert (one.priority, one.task_ids(), one.function_numbers()) == (-4, (5 + place,), {1 + place})
    assert one.payload == [b"a", b"", b"ccc"][place]


def test_what_waits_while_all_are_at_long_tasks_is_given_back() -> None:
    """Another manager may be free; and we are not to be given it again."""
    manager = running(1)
    manager.tasks_arrived(tasks([1, 2, 3], 9), 0)
    assert manager.queued == 2
    assert manager.relieve(RELIEVE_NS - 1) == []
    *window, back = manager.relieve(RELIEVE_NS)
    assert isinstance(back, GiveBack) and back.tasks.task_ids() == (2, 3)
    assert window in ([], [SetWindow(1, 0, 1)]) and manager.window == 1
    assert manager.relieve(2 * RELIEVE_NS) == [] and manager.held_tasks() == [1]


def test_nothing_is_given_back_while_a_worker_starts_or_tasks_wait_for_others() -> None:
    starting = ManagerCore(1)
    starting.begin(0)
    starting.tasks_arrived(tasks([1, 2], 9), 0)
    assert starting.relieve(RELIEVE_NS) == []
    nested = running(1)
    nested.tasks_arrived(tasks([1, 2], 9), 0)
    nested.waits(0, True, 0)
    assert nested.relieve(RELIEVE_NS) == []


# ---- any event in any state

SEATS = ["unknown", "starting", "idle", "one", "several", "taking back", "leaving"]
EVENTS = [
    "begin", "worker_ready", "worker_ended", "tasks_arrived", "finished", "forget", "remove_queued", "tick",
    "taken_back", "stop", "drain", "relieve",
]  # fmt: skip

drawn = Drawn(
    [f"{seat}, {queue}" for seat in SEATS for queue in ("empty", "waiting", "draining")],
    EVENTS,
    impossible=[("idle, waiting", event) for event in EVENTS],
)
WHICH = st.integers(0, 4)
TIMES = st.sampled_from([0, 1, core.STUCK_NS])


def test_tasks_that_were_taken_back_do_not_count_for_how_many_a_worker_may_run() -> None:
    manager = running(1, max_tasks=5)
    assert sent(manager.tasks_arrived(tasks(range(1, 13)), 0)) == {0: [1, 2, 3, 4, 5]}
    manager.tick(core.STUCK_NS)
    manager.taken_back(0, 1, core.STUCK_NS)
    assert sent(manager.finished(0, [(1, OK)], 0, False, core.STUCK_NS)) == {}
    skipped = [(task, SKIPPED) for task in (2, 3, 4, 5)]
    manager.estimates[1] = SHORT_NS  # one long one has made it unknown
    assert sent(manager.finished(0, skipped, 0, True, core.STUCK_NS)) == {0: [2, 3, 4, 5]}  # five in all
    effects = manager.finished(0, [(task, OK) for task in (2, 3, 4, 5)], 0, True, core.STUCK_NS)
    assert Start(1) in effects and not sent(effects)



class CoreMachine(RuleBasedStateMachine):
    """Workers here keep no rules: they finish what they were never given, and are ready twice."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0
        self.next_id = 1
        self.gone: set[int] = set()
        self.is_relieved = False  # just now

    @initialize(
        workers=st.integers(1, 2),
        max_tasks=st.sampled_from([0, 0, 2]),
        state=st.sampled_from(SEATS),
        drains=st.sampled_from([False, False, True]),
        begun=st.booleans(),
    )
    def begin_in(self, workers: int, max_tasks: int, state: str, drains: bool, begun: bool) -> None:
        self.lead_to(workers, max_tasks, state)
        if drains:
            self.drain(True)
            if begun:  # what was to be taken back
                self.taken_back(0, 12)

    def lead_to(self, workers: int, max_tasks: int, state: str) -> None:
        self.core = ManagerCore(workers, 2 if state == "leaving" else max_tasks)
        if state == "unknown":
            return
        self.begin()
        self.core.estimates[1] = SHORT_NS
        if state != "starting":
            self.worker_ready(0)
            last = 2 if workers == 1 and max_tasks else 3  # with one that waits, or without
            count = {"one": 1, "several": 5, "taking back": 5, "leaving": last}.get(state, 0)
            self.tasks_arrived(count, 1)
        if state == "taking back":
            self.tick(core.STUCK_NS)
        if state == "leaving":
            self.perform(self.core.finished(0, [(task, OK) for task in self.core.seats[0].held], 0, True, self.now))
            self.gone.update(set(range(1, self.next_id)) - set(self.core.held_tasks()))

    def state_of(self, number: int) -> str:
        queue = "draining" if self.core.draining else "waiting" if self.core.queue else "empty"
        seat = self.core.seats.get(number)
        if seat is None:
            return f"unknown, {queue}"
        if seat.state is not SeatState.READY:
            return f"{seat.state.name.lower()}, {queue}"
        if seat.taking_back:
            return f"taking back, {queue}"
        return f"{['idle', 'one', 'several'][min(2, len(seat.held))]}, {queue}"

    def note(self, event: str, *numbers: int) -> None:
        for number in numbers or self.core.seats or [0]:
            drawn.note(self.state_of(number), event)

    def number(self, which: int) -> int:
        """One of the workers, or one that is gone or never was."""
        numbers = [*self.core.seats, 1_000]
        return numbers[which % len(numbers)]

    def perform(self, effects: list[Effect]) -> list[Effect]:
        """What is given back is no longer here. Once all is done this is said, and not before."""
        for effect in effects:
            if isinstance(effect, GiveBack):
                assert self.core.draining or self.is_relieved
                self.gone.update(effect.tasks.task_ids())
            elif isinstance(effect, (Send, Start)):
                assert not self.core.draining, "what drains begins nothing"
            elif isinstance(effect, Drained):
                assert self.core.draining and not self.core.held_tasks()
        return effects

    @rule()
    def begin(self) -> None:
        self.note("begin")
        self.perform(self.core.begin(self.now))

    @rule(nanoseconds=st.sampled_from([0, RELIEVE_NS]))
    def relieve(self, nanoseconds: int) -> None:
        self.note("relieve")
        self.now += nanoseconds
        before = self.core.queued
        self.is_relieved = True
        effects = self.perform(self.core.relieve(self.now))
        self.is_relieved = False
        assert not effects or (before and not self.core.queue and self.core.window == self.core.workers)

    @rule(really=st.sampled_from([False, False, False, False, True]))
    def drain(self, really: bool) -> None:
        if not (really or self.core.draining):
            return  # there is no way back: else most runs would soon be in that state
        self.note("drain", *self.core.seats, 1_000)
        effects = self.perform(self.core.drain(self.now))
        assert (Drained() in effects) == (not self.core.held_tasks())

    @rule(which=WHICH)
    def worker_ready(self, which: int) -> None:
        number = self.number(which)
        self.note("worker_ready", number)
        self.perform(self.core.worker_ready(number, self.now))

    @rule(which=WHICH, data=st.data())
    def worker_ended(self, which: int, data: st.DataObject) -> None:
        number = self.number(which)
        self.note("worker_ended", number)
        task = data.draw(st.sampled_from([0, 1_000_000, *self.core.held_tasks()]))
        held = number in self.core.seats and task in self.core.seats[number].held
        effects = self.perform(self.core.worker_ended(number, task, self.now))
        assert (Lost(number, task) in [effect for effect in effects if type(effect) is Lost]) == held
        self.gone.update([task] if held else [])

    @rule(count=st.integers(1, 6), function=st.integers(1, 2))
    def tasks_arrived(self, count: int, function: int) -> None:
        if count:
            self.note("tasks_arrived")
            self.perform(self.core.tasks_arrived(tasks(range(self.next_id, self.next_id + count), function), self.now))
        self.next_id += count

    @rule(
        which=WHICH,
        data=st.data(),
        idle=st.booleans(),
        nanoseconds=st.sampled_from([0, SHORT_NS, 9 * core.BATCH_NS]),
    )
    def finished(self, which: int, data: st.DataObject, idle: bool, nanoseconds: int) -> None:
        number = self.number(which)
        self.note("finished", number)
        ids = data.draw(st.lists(st.sampled_from([1_000_000, *self.core.held_tasks()]), max_size=4, unique=True))
        done = [(task, data.draw(st.sampled_from([OK, RAISED, CANCELLED, SKIPPED]))) for task in ids]
        held = set(self.core.seats[number].held) if number in self.core.seats else set[int]()
        self.perform(self.core.finished(number, done, nanoseconds, idle, self.now))
        self.gone.update(task for task, status in done if task in held and status != SKIPPED)

    @rule(numbers=st.lists(st.integers(1, 3), max_size=3))
    def forget(self, numbers: list[int]) -> None:
        self.note("forget")
        self.core.estimates.forget(numbers)
        assert not set(numbers) & set(self.core.estimates)

    @rule(data=st.data())
    def remove_queued(self, data: st.DataObject) -> None:
        self.note("remove_queued")
        task = data.draw(st.sampled_from([1_000_000, *self.core.held_tasks()]))
        queued = any(task in frame.task_ids() for frame in self.core.queue)
        assert self.core.remove_queued(task) == queued
        self.gone.update([task] if queued else [])

    @rule(nanoseconds=TIMES)
    def tick(self, nanoseconds: int) -> None:
        self.note("tick")
        self.now += nanoseconds
        watched = self.core.watched()
        for effect in self.core.tick(self.now):
            assert isinstance(effect, TakeBack) and effect.worker in watched
            assert 0 <= effect.first < effect.last == self.core.seats[effect.worker].sent

    @rule(which=WHICH, started=st.integers(0, 12))
    def taken_back(self, which: int, started: int) -> None:
        number = self.number(which)
        self.note("taken_back", number)
        self.perform(self.core.taken_back(number, started, self.now))

    @rule()
    def stop(self) -> None:
        self.note("stop")
        queued = [task for frame in self.core.queue for task in frame.task_ids()]
        self.core.stop()
        self.gone.update(queued)

    @invariant()
    def the_books_agree(self) -> None:
        if not hasattr(self, "core"):
            return
        here = Counter(self.core.held_tasks())
        assert not [task for task, places in here.items() if places > 1], "a task in two places"
        assert {*here, *self.gone} == set(range(1, self.next_id)) and not self.gone & set(here)
        assert self.core.queued == sum(frame.count for frame in self.core.queue)
        assert not (self.core.queue and self.core.idle) or self.core.has_extra()  # then some may have to stay idle
        for number, seat in self.core.idle.items():
            assert self.core.seats.get(number) is seat and not seat.held
        assert self.core.waiting == sum(seat.waits for seat in self.core.seats.values())
        most = self.core.workers * core.WINDOW_MOST + 2 * self.core.waiting
        if self.core.draining:
            assert not self.core.queue and not self.core.window
        else:
            assert self.core.workers <= self.core.window <= most
        assert all(self.core.holder(task) == number for number, seat in self.core.seats.items() for task in seat.held)


def test_any_event_in_any_state() -> None:
    run_until_all_is_drawn(CoreMachine, drawn, examples=100, steps=25)
