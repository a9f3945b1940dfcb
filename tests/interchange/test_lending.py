"""The manager's core, when tasks wait for other tasks: others get their workers' places, within a bound."""

from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import rule, run_state_machine_as_test

from parsl_pool.interchange import manager_core as core
from parsl_pool.interchange.manager_core import ManagerCore, Retire, Send, SetWindow, Start
from parsl_pool.interchange.wire import OK
from tests.interchange.frames import tasks
from tests.interchange.test_manager_core import WHICH, CoreMachine

LATER = 2 * core.EXTRA_IDLE_NS


def busy(workers: int) -> ManagerCore:
    """Each worker runs a task of unknown length: worker n has task n + 1."""
    manager = ManagerCore(workers)
    manager.begin(0)
    for number in range(workers):
        manager.worker_ready(number, 0)
    manager.idle = dict(reversed(manager.idle.items()))  # the first worker gets the first task
    manager.tasks_arrived(tasks(range(1, workers + 1), 9), 0)
    assert [list(seat.held) for seat in manager.seats.values()] == [[n + 1] for n in range(workers)]
    return manager


def started(effects: list[core.Effect]) -> list[int]:
    return [effect.worker for effect in effects if isinstance(effect, Start)]


def sent(effects: list[core.Effect]) -> list[tuple[int, ...]]:
    return [effect.tasks.task_ids() for effect in effects if isinstance(effect, Send)]


def test_a_worker_that_waits_makes_room_for_another() -> None:
    manager = busy(1)
    assert started(manager.tasks_arrived(tasks([2], 9), 0)) == []
    assert started(manager.waits(0, True, 0)) == [1]
    assert sent(manager.worker_ready(1, 0)) == [(2,)]


def test_without_tasks_nobody_is_started() -> None:
    manager = busy(1)
    assert started(manager.waits(0, True, 0)) == []
    assert started(manager.tasks_arrived(tasks([2], 9), 0)) == [1]


def test_the_broker_is_told_that_there_is_room() -> None:
    manager = busy(2)
    before = manager.window
    (window,) = [effect for effect in manager.waits(0, True, 0) if isinstance(effect, SetWindow)]
    assert window.tasks > before
    (window,) = [effect for effect in manager.waits(0, False, 0) if isinstance(effect, SetWindow)]
    assert window.tasks == manager.window == before


def test_when_it_goes_on_no_more_is_begun_until_there_is_room() -> None:
    manager = busy(1)
    manager.waits(0, True, 0)
    manager.tasks_arrived(tasks([2, 3, 4], 9), 0)
    manager.worker_ready(1, 0)
    manager.waits(0, False, 0)
    assert sent(manager.finished(1, [(2, OK)], 0, True, 0)) == []
    assert len(sent(manager.finished(0, [(1, OK)], 0, True, 0))) == 1
    assert sum(bool(seat.held) for seat in manager.seats.values()) == 1


def test_who_is_to_stay_idle_gets_no_short_tasks_in_advance_either() -> None:
    manager = busy(1)
    manager.waits(0, True, 0)
    manager.tasks_arrived(tasks([2], 9), 0)
    manager.worker_ready(1, 0)
    manager.waits(0, False, 0)
    manager.finished(1, [(2, OK)], 0, True, 0)
    manager.estimates[1] = 1000
    manager.tasks_arrived(tasks(range(3, 300)), 0)
    assert not manager.seats[1].held and set(manager.idle) == {1}


def test_an_extra_worker_ends_when_it_has_been_idle_for_a_while() -> None:
    manager = busy(1)
    manager.waits(0, True, 0)
    manager.tasks_arrived(tasks([2], 9), 0)
    manager.worker_ready(1, 0)
    manager.finished(1, [(2, OK)], 0, True, 0)
    assert manager.trim(LATER) == []  # the place is still lent
    manager.waits(0, False, LATER)
    assert manager.has_extra()
    assert manager.trim(0) == []
    assert manager.trim(LATER) == [Retire(1)]
    assert manager.is_leaving(1)
    manager.worker_ended(1, 0, LATER)
    assert not manager.has_extra()


def test_there_is_a_bound() -> None:
    manager = busy(1)
    manager.tasks_arrived(tasks(range(2, 100), 9), 0)
    for number in range(100):
        if number not in manager.seats:
            break
        manager.worker_ready(number, 0)
        manager.waits(number, True, 0)
    assert len(manager.seats) == 1 + manager.most_extra


def test_beyond_the_bound_there_is_one_more_if_nothing_moves() -> None:
    manager = busy(1)
    manager.most_extra = 0
    manager.tasks_arrived(tasks([2, 3], 9), 0)
    assert started(manager.waits(0, True, 0)) == []
    assert manager.trim(0) == []
    assert started(manager.trim(0)) == [1]


def test_what_waits_behind_a_task_that_waits_goes_to_others() -> None:
    manager = busy(1)
    manager.waits(0, True, 0)
    manager.estimates[1] = 1000
    effects = manager.tasks_arrived(tasks(range(2, 20)), 0)
    assert sent(effects) == []
    assert started(effects) == [1]


def test_a_worker_that_ends_waits_no_more() -> None:
    manager = busy(2)
    manager.waits(0, True, 0)
    manager.worker_ended(0, 1, 0)
    assert manager.waiting == 0


def test_a_task_that_is_over_waits_no_more() -> None:
    manager = busy(1)
    manager.waits(0, True, 0)
    manager.finished(0, [(1, OK)], 0, True, 0)
    assert manager.waiting == 0 and not manager.seats[0].waits


def test_a_worker_without_a_task_has_nothing_to_wait_for() -> None:
    manager = ManagerCore(1)
    manager.begin(0)
    manager.worker_ready(0, 0)
    assert manager.waits(0, True, 0) == [] and manager.waits(7, True, 0) == []
    assert manager.waiting == 0


class LendingMachine(CoreMachine):
    """Any event in any state, and workers that wait, go on, and are ended when they are too many."""

    def note(self, event: str, *numbers: int) -> None:
        """There are more states here than are told apart there."""

    @rule(which=WHICH, waits=st.booleans())
    def waits(self, which: int, waits: bool) -> None:
        self.perform(self.core.waits(self.number(which), waits, self.now))

    @rule()
    def all_wait_for_a_while(self) -> None:
        """What takes luck otherwise: there is an extra worker, and it is idle."""
        numbers = list(self.core.seats)
        for number in numbers:
            self.perform(self.core.waits(number, True, self.now))
        self.tasks_arrived(1, 2)
        for number in list(self.core.seats):
            self.perform(self.core.worker_ready(number, self.now))
            held = [] if number in numbers else list(self.core.seats[number].held)
            self.perform(self.core.finished(number, [(task, OK) for task in held], 0, True, self.now))
            self.gone.update(held)
        for number in numbers:
            self.perform(self.core.waits(number, False, self.now))

    @rule(nanoseconds=st.sampled_from([0, LATER]))
    def trim(self, nanoseconds: int) -> None:
        self.now += nanoseconds
        for effect in self.perform(self.core.trim(self.now)):
            if isinstance(effect, Retire):
                assert self.core.is_leaving(effect.worker) and not self.core.seats[effect.worker].held


def test_the_books_agree_whoever_waits() -> None:
    options = settings(
        max_examples=150, stateful_step_count=30, deadline=None, suppress_health_check=list(HealthCheck),
        phases=[Phase.reuse, Phase.generate, Phase.shrink],
    )  # fmt: skip
    run_state_machine_as_test(LendingMachine, settings=options)
