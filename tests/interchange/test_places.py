"""Places of workers, and how many tasks a manager holds: any event in any order, with accelerators and without."""

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from parsl_pool.interchange import broker
from parsl_pool.interchange import manager_core as core
from parsl_pool.interchange.manager_core import ManagerCore, Send, SetWindow, Start
from parsl_pool.interchange.seat import Seat, SeatState
from parsl_pool.interchange.wire import OK
from tests.interchange.frames import results, tasks

SHORT_NS, LONG_NS = 10_000, 10_000_000
WHICH = st.integers(0, 20)


class Manager:
    """A manager's core, and the broker that feeds it. Checks each effect when it comes."""

    def __init__(self, workers: int, **options: object) -> None:
        self.core = ManagerCore(workers, **options)  # type: ignore[arg-type]  # passed on
        self.broker = broker.Broker()
        self.broker.manager_registered("m", [])
        self.now = 1
        self.next_task = 1
        self.perform(self.core.begin(self.now))

    def perform(self, effects: list[core.Effect]) -> None:
        for effect in effects:
            if isinstance(effect, SetWindow):
                self.feed(self.broker.window_set("m", effect.tasks, effect.lent, effect.least))
            elif isinstance(effect, Start):
                self.check_start(self.core.seats[effect.worker])
            elif isinstance(effect, Send):
                self.check_send(effect)
            elif isinstance(effect, core.Lost):
                self.feed(self.broker.results_arrived("m", results([effect.task])))

    def check_start(self, seat: Seat) -> None:
        assert 0 <= seat.rank < self.core.workers
        for other in self.core.seats.values():
            if other is not seat and other.rank == seat.rank and not other.waits:
                assert other.state is SeatState.LEAVING and not self.core.exclusive

    def check_send(self, effect: Send) -> None:
        seat = self.core.seats[effect.worker]
        assert seat.state is SeatState.READY
        if self.core.prefetch == 0:
            assert effect.tasks.count == 1 and len(seat.held) == 1
        if self.core.exclusive:
            others = [other for other in self.core.seats.values() if other is not seat and other.rank == seat.rank]
            assert not any(other.held and not other.waits for other in others), "two at work on one accelerator"

    def feed(self, effects: list[broker.Effect]) -> None:
        for effect in effects:
            if isinstance(effect, broker.SendTasks):
                self.perform(self.core.tasks_arrived(effect.tasks, self.now))

    def submit(self, count: int, function: int = 9) -> None:
        ids = range(self.next_task, self.next_task + count)
        self.next_task += count
        self.feed(self.broker.tasks_submitted(tasks(ids, function)))

    def ready(self) -> None:
        """All that were started are up."""
        for number, seat in list(self.core.seats.items()):
            if seat.state is SeatState.STARTING:
                self.perform(self.core.worker_ready(number, self.now))

    def finish(self, number: int, nanoseconds: int = LONG_NS) -> None:
        """A worker finishes all that it has."""
        done = list(self.core.seats[number].held)
        if done:
            self.feed(self.broker.results_arrived("m", results(done)))
            self.perform(self.core.finished(number, [(task, OK) for task in done], nanoseconds, True, self.now))

    def at_work(self) -> int:
        return sum(bool(seat.held) and not seat.waits for seat in self.core.seats.values())


class PlacesMachine(RuleBasedStateMachine):
    """Tasks come, wait, go on and end; workers come and go."""

    exclusive = False

    @initialize(
        workers=st.integers(1, 4), max_tasks=st.sampled_from([0, 0, 2]), eager=st.booleans(),
        prefetch=st.sampled_from([None, None, 0, 1, 5]),
    )  # fmt: skip
    def begin(self, workers: int, max_tasks: int, eager: bool, prefetch: int | None) -> None:
        self.manager = Manager(
            workers, max_tasks_per_child=max_tasks, eager=eager, prefetch=prefetch, exclusive=self.exclusive
        )
        self.core = self.manager.core

    def chosen(self, which: int, seats: list[int]) -> int:
        return seats[which % len(seats)]

    @rule(count=st.integers(1, 6), function=st.sampled_from([1, 9]))
    def tasks_come(self, count: int, function: int) -> None:
        self.manager.submit(count, function)

    @rule()
    def workers_are_up(self) -> None:
        self.manager.ready()

    @precondition(lambda self: any(seat.held for seat in self.core.seats.values()))
    @rule(which=WHICH, nanoseconds=st.sampled_from([0, SHORT_NS, LONG_NS]))
    def a_worker_finishes(self, which: int, nanoseconds: int) -> None:
        busy = [number for number, seat in self.core.seats.items() if seat.held and not seat.taking_back]
        if busy:
            self.manager.finish(self.chosen(which, busy), nanoseconds)

    @precondition(lambda self: any(seat.held for seat in self.core.seats.values()))
    @rule(which=WHICH)
    def a_task_waits_or_goes_on(self, which: int) -> None:
        number = self.chosen(which, [number for number, seat in self.core.seats.items() if seat.held])
        waits = not self.core.seats[number].waits
        self.manager.perform(self.core.waits(number, waits, self.manager.now))

    @precondition(lambda self: self.core.seats)
    @rule(which=WHICH)
    def a_worker_ends(self, which: int) -> None:
        number = self.chosen(which, list(self.core.seats))
        running = next(iter(self.core.seats[number].held), 0)
        self.core.failures = 0  # giving up is not what this is about
        self.manager.perform(self.core.worker_ended(number, running, self.manager.now, started=0))

    @rule()
    def time_passes(self) -> None:
        self.manager.now += 2 * core.EXTRA_IDLE_NS
        self.manager.perform(self.core.trim(self.manager.now))

    @invariant()
    def workers_have_places_of_their_own_as_long_as_nobody_has_waited(self) -> None:
        self.was_shared = self.was_shared or bool(self.core.waiting)
        staying = [seat for seat in self.core.seats.values() if seat.state is not SeatState.LEAVING]
        assert all(0 <= seat.rank < self.core.workers for seat in staying)
        if not self.was_shared:
            assert len({seat.rank for seat in staying}) == len(staying)

    was_shared = False

    @invariant()
    def nobody_holds_more_than_was_asked_for(self) -> None:
        if self.core.prefetch is not None:
            assert self.core.window == self.core.workers + self.core.prefetch + self.core.waiting
        assert self.manager.broker.placed == len(self.core.held_tasks())

    @invariant()
    def no_task_waits_in_vain(self) -> None:
        """Each place without a worker at work has one that is being started, or that is about to end."""
        if not self.core.queue or len(self.core.seats) >= self.core.workers + self.core.most_extra:
            return
        if self.manager.at_work() >= self.core.workers:
            return  # some of them have waited, and others came instead
        coming = [
            seat for seat in self.core.seats.values()
            if seat.state is not SeatState.READY or (seat.held and not seat.waits)
        ]  # fmt: skip
        starting = sum(seat.state is SeatState.STARTING for seat in coming)
        if starting < self.core.queued:
            places = {seat.rank for seat in coming} if self.core.exclusive else coming
            assert len(places) >= self.core.workers


class ExclusiveMachine(PlacesMachine):
    """The same, with accelerators."""

    exclusive = True


@pytest.mark.parametrize("machine", [PlacesMachine, ExclusiveMachine])
def test_any_event_in_any_order(machine: type[RuleBasedStateMachine]) -> None:
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=60, stateful_step_count=40, deadline=None, derandomize=True,
            phases=(Phase.generate, Phase.shrink), suppress_health_check=list(HealthCheck),
        ),
    )  # fmt: skip


@pytest.mark.parametrize("prefetch", [None, 0, 1, 7])
def test_no_worker_is_idle_while_tasks_wait_however_many_there_are(prefetch: int | None) -> None:
    """The broker once sent more only when a quarter of what a manager held was done."""
    manager = Manager(16, prefetch=prefetch)
    manager.ready()
    manager.submit(200)
    for step in range(150):
        assert manager.at_work() == 16
        manager.now += LONG_NS
        manager.finish(list(manager.core.seats)[step * 7 % 16])
    assert manager.at_work() == 16


@pytest.mark.parametrize("prefetch, held", [(0, 4), (1, 5), (10, 14)])
def test_a_manager_holds_as_many_tasks_as_it_was_told(prefetch: int, held: int) -> None:
    manager = Manager(4, prefetch=prefetch)
    manager.ready()
    manager.submit(1000, function=1)
    assert len(manager.core.held_tasks()) == held
    for _ in range(20):
        has = manager.core.held_tasks()
        assert held - manager.core.least < len(has) <= held and len(has) >= 4
        assert len(has) == manager.broker.placed
        manager.finish(next(number for number, seat in manager.core.seats.items() if seat.held), SHORT_NS)


def test_without_prefetch_each_worker_has_one_task_however_short_they_are() -> None:
    manager = Manager(2, prefetch=0)
    manager.core.estimates[1] = SHORT_NS
    manager.ready()
    manager.submit(100, function=1)
    assert [len(seat.held) for seat in manager.core.seats.values()] == [1, 1]


def test_who_replaces_a_worker_takes_its_place() -> None:
    manager = Manager(3, exclusive=True)
    manager.ready()
    manager.perform(manager.core.worker_ended(1, 0, 1))
    assert manager.core.seats[3].rank == 1
    assert sorted(seat.rank for seat in manager.core.seats.values()) == [0, 1, 2]


def test_with_an_accelerator_the_next_one_starts_when_the_last_one_has_ended() -> None:
    for exclusive in (False, True):
        manager = Manager(1, max_tasks_per_child=1, exclusive=exclusive)
        manager.ready()
        manager.submit(2)
        manager.finish(0)
        assert manager.core.is_leaving(0) and (1 in manager.core.seats) is not exclusive
        manager.perform(manager.core.worker_ended(0, 0, 1))
        assert manager.core.seats[1].rank == 0


def test_an_extra_worker_has_the_place_of_one_that_waits_and_works_only_while_it_does() -> None:
    manager = Manager(2, exclusive=True)
    manager.ready()
    manager.submit(5)
    number, place = 0, manager.core.seats[0].rank
    manager.perform(manager.core.waits(number, True, 1))
    assert manager.core.seats[2].rank == place
    manager.ready()
    assert manager.core.seats[2].held
    manager.perform(manager.core.waits(number, False, 1))
    manager.finish(2)
    assert not manager.core.seats[2].held, "the other is at work there"
    manager.finish(number)
    assert sum(bool(manager.core.seats[each].held) for each in (number, 2)) == 1
