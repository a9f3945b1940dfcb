"""The thread that keeps blocks: how often it asks the provider, and what it does. It does not run here: tests look."""


import pytest

from parsl_pool.errors import ScalingFailed
from parsl_pool.providers import JobState
from parsl_pool.scaling.decision import Load
from parsl_pool.scaling.table import BlockStage
from tests.scaling.kept import CLOCK, Make, Place, Queue, come_up, look

# -- how often the provider is asked


@pytest.mark.parametrize("interval", [0.5, 30.0, 300.0])
def test_a_provider_is_not_asked_more_often_than_it_says(poller_of: Make, interval: float) -> None:
    provider = Queue(interval)
    poller = poller_of(provider)
    come_up(poller, "0")
    for _ in range(20):
        poller.manager_gone("other", "m", "n", "gone", running=[])
        poller.look()
    assert len(provider.asked) <= 1
    look(poller, max(interval, 30.0))
    assert len(provider.asked) <= 2


def test_one_call_asks_for_all_blocks(poller_of: Make) -> None:
    provider = Queue(init_blocks=50, max_blocks=50)
    poller = poller_of(provider)
    look(poller)
    assert [len(jobs) for jobs in provider.asked] == [50] * len(provider.asked) and provider.asked


def test_a_block_that_waits_for_long_is_looked_at_less_and_less(poller_of: Make) -> None:
    poller = poller_of(Queue(0.1))
    pauses = []
    for _ in range(8):
        poller.look()
        pauses.append(round(poller.pause(), 1))
        CLOCK.now += 1.0
    assert pauses[0] == 0.1 and pauses[-1] == 1.0 and pauses == sorted(pauses)


def test_when_its_job_begins_it_is_looked_at_often_again(poller_of: Make) -> None:
    """Jobs that end at once are noticed at once."""
    provider = Queue(0.1)
    poller = poller_of(provider)
    provider.state = JobState.RUNNING
    look(poller, 1000.0)
    assert poller.table.blocks["0"].stage is BlockStage.RUNNING and poller.pause() <= 0.1


def test_while_all_are_up_hardly_anybody_is_asked(poller_of: Make) -> None:
    provider = Queue(0.1)
    poller = poller_of(provider)
    come_up(poller, "0")
    look(poller, 40.0)
    asked = len(provider.asked)
    for _ in range(2):
        look(poller, 3.0)
    assert len(provider.asked) == asked and poller.pause() > 1.0


def test_interval_0_is_never_asked(poller_of: Make) -> None:
    provider = Queue(0.0)
    poller = poller_of(provider)
    look(poller, 1000.0)
    assert not provider.asked and poller.pause() > 1.0


# -- giving up


def test_two_blocks_that_use_up_their_time_are_enough(poller_of: Make, place: Place) -> None:
    provider = Queue()
    provider.state = JobState.RUNNING
    poller = poller_of(provider)
    for number in ("0", "1"):
        look(poller, 1.0)
        assert poller.table.blocks[number].stage is BlockStage.RUNNING and not place.given_up
        look(poller, 61.0)
    (text,) = place.given_up
    assert str(text).startswith("2 blocks in a row") and len(provider.submitted) == 2


def test_a_manager_that_registers_takes_back_what_was_held_against_others(poller_of: Make, place: Place) -> None:
    provider = Queue()
    provider.state = JobState.RUNNING
    poller = poller_of(provider)
    for number in range(6):
        look(poller, 1.0)
        if number % 2:
            come_up(poller, str(number))
            place.finished += 1
            poller.manager_gone(str(number), f"m{number}", "n1", "killed", held=1, running=[])
            look(poller, 0.0)
        else:
            look(poller, 61.0)
    assert len(poller.table.blocks) > 5 and not place.given_up


def test_a_pool_with_a_manager_goes_on_whatever_becomes_of_other_blocks(poller_of: Make, place: Place) -> None:
    provider = Queue(init_blocks=2, max_blocks=2)
    poller = poller_of(provider)
    come_up(poller, "0")
    for number in range(1, 8):
        provider.states[f"parsl_pool.pool.{number}"] = JobState.FAILED
    for _ in range(20):
        look(poller, 1000.0)
    assert not place.given_up and len(provider.submitted) == 9
    poller.manager_gone("0", "m0", "n1", "killed", held=1, running=[])
    provider.state = JobState.FAILED
    look(poller, 1000.0)
    assert place.given_up


def test_blocks_that_are_on_their_way_are_waited_for_and_those_that_only_try_are_not(
    poller_of: Make, place: Place
) -> None:
    """Of many that are submitted at once some may fail before another is up."""
    provider = Queue(init_blocks=6, max_blocks=6)
    poller = poller_of(provider)
    for number in range(5):
        provider.states[f"parsl_pool.pool.{number}"] = JobState.FAILED
    for _ in range(10):
        look(poller, 20.0)
    assert not place.given_up and len(provider.submitted) > 6, "the sixth waits in the queue, others try"
    provider.states["parsl_pool.pool.5"] = JobState.FAILED
    look(poller, 20.0)
    assert len(place.given_up) == 1 and "blocks in a row" in str(place.given_up[0])


def test_crash_looping_blocks_are_started_one_by_one_with_longer_and_longer_pauses(
    poller_of: Make, place: Place
) -> None:
    provider = Queue(init_blocks=5, max_blocks=5)
    provider.state = JobState.FAILED
    poller = poller_of(provider, handler=False)
    look(poller, 0.2)
    assert len(provider.submitted) == 5, "all have failed, and none is replaced at once"
    pauses = []
    for count in range(6, 10):
        pause = poller._jobs.pause_s(CLOCK.now)
        pauses.append(round(pause))
        look(poller, pause + 0.1)
        look(poller, 0.2)
        assert len(provider.submitted) == count and not place.given_up
    assert pauses == [4, 8, 16, 32] and "the last 9 were of no use" in "\n".join(poller.explain())


@pytest.mark.parametrize("held", [0, 1])
def test_a_manager_that_is_lost_before_it_had_anything_to_do_is_nobodys_fault(
    poller_of: Make, place: Place, held: int
) -> None:
    """Workers start when there are tasks: one that has none had no reason to."""
    poller = poller_of(Queue(init_blocks=1, max_blocks=1))
    for number in range(5):
        poller.manager_up(str(number), "m", "n1")
        poller.manager_gone(str(number), "m", "n1", "preempted", held=held, running=[])
        look(poller)
        if poller._stopping:
            break
    assert len(place.given_up) == held


@pytest.mark.parametrize("handler, given_up", [(True, 1), (False, 0)])
def test_with_none_the_end_of_the_last_block_is_told(
    poller_of: Make, place: Place, handler: bool, given_up: int
) -> None:
    provider = Queue(init_blocks=2, max_blocks=5)
    poller = poller_of(provider, strategy="none", handler=handler)
    come_up(poller, "0", "1")
    provider.states["parsl_pool.pool.0"] = JobState.TIMEOUT
    poller.manager_gone("0", "m0", "n1", "killed", held=1, running=[])
    look(poller)
    assert not place.given_up and len(provider.submitted) == 2
    poller.manager_gone("1", "m1", "n1", "killed", held=1, running=[])
    look(poller)
    assert len(place.given_up) == given_up and len(provider.submitted) == 2
    assert all("all 2 blocks have ended" in str(text) for text in place.given_up)


def test_the_users_handler_hears_of_failures_and_not_of_walltimes(poller_of: Make, place: Place) -> None:
    provider = Queue(init_blocks=2, max_blocks=2)
    poller = poller_of(provider, handler=print, strategy="none")
    come_up(poller, "0")
    provider.states["parsl_pool.pool.0"] = JobState.TIMEOUT
    look(poller)
    assert not place.handled
    provider.states["parsl_pool.pool.1"] = JobState.FAILED
    look(poller)
    assert place.handled == [["TIMEOUT", "MISSING"]]


# -- coming and going


def test_blocks_come_with_the_load_and_idle_ones_are_drained(poller_of: Make, place: Place) -> None:
    provider = Queue(init_blocks=0, max_blocks=4)
    provider.state = JobState.RUNNING
    poller = poller_of(provider, strategy="htex_auto_scale", max_idletime=60)
    assert len(provider.submitted) == 1, "there is a task"
    place.waiting = 100
    look(poller)
    assert len(provider.submitted) == 4
    come_up(poller, "0", "1", "2", "3")
    place.waiting = 3
    place.known = {"0": Load(0, 100.0), "1": Load(2, 0.0), "2": Load(0, 30.0), "3": Load(1, 0.0)}
    look(poller)
    assert place.drained == ["0"] and poller.table.blocks["0"].stage is BlockStage.DRAINING and not provider.cancelled
    poller.manager_gone("0", "m0", "n1", "drained", running=[])
    look(poller)
    assert provider.cancelled == ["parsl_pool.pool.0"] and not place.given_up


def test_the_number_of_blocks_never_exceeds_the_bound_while_one_can_not_be_cancelled(
    poller_of: Make, place: Place
) -> None:
    provider = Queue(init_blocks=2, max_blocks=2)
    provider.refuses_cancel = True
    place.waiting = 100
    poller = poller_of(provider, strategy="simple")
    come_up(poller, "0", "1")
    poller.manager_gone("0", "m0", "n1", "killed", held=1, running=[])
    for _ in range(5):
        look(poller)
    assert len(provider.submitted) == 2 and poller.table.blocks["0"].stage is BlockStage.ENDING
    provider.refuses_cancel = False
    look(poller)
    look(poller)
    assert provider.cancelled == ["parsl_pool.pool.0"] and len(provider.submitted) == 3


def test_by_hand_as_many_as_may_be_and_those_that_are_idle(poller_of: Make, place: Place) -> None:
    provider = Queue(init_blocks=1, max_blocks=3)
    poller = poller_of(provider, strategy="none")
    assert poller._scale_out(9) == ["1", "2"] and poller._scale_out(1) == []
    come_up(poller, "0", "1", "2")
    place.known = {"0": Load(1, 0.0), "1": Load(0, 10.0), "2": Load(0, 50.0)}
    assert poller._scale_in(3, 20.0) == ["2"] and place.drained == ["2"] and not provider.cancelled
    assert poller._scale_in(1, None) == ["1"] and provider.cancelled == ["parsl_pool.pool.1"]
    place.waiting = 0
    assert poller._scale_in(5, None) == ["0"]
    look(poller)
    assert not place.given_up and len(provider.submitted) == 3, "the user has ended them, and starts others"


def test_a_refusal_is_told_to_who_asked(poller_of: Make) -> None:
    provider = Queue(init_blocks=0, max_blocks=3)
    poller = poller_of(provider, strategy="none")
    provider.refuses = True
    with pytest.raises(ScalingFailed, match="no such partition"):
        poller._scale_out(2)


def test_what_was_scaled_by_hand_is_kept(poller_of: Make) -> None:
    """By an executor without a strategy."""
    provider = Queue(init_blocks=1, max_blocks=3)
    poller = poller_of(provider)
    poller._scale_out(1)
    come_up(poller, "0", "1")
    poller.manager_gone("0", "m0", "n1", "killed", held=1, running=[])
    look(poller)
    assert len(poller.table.capacity()) == 2
    poller._scale_in(1, None)
    look(poller)
    assert len(poller.table.capacity()) == 1


def test_of_a_job_that_is_over_nobody_waits_for_signs_of_life(poller_of: Make, place: Place) -> None:
    provider = Queue()
    poller = poller_of(provider)
    come_up(poller, "0")
    look(poller, 40.0)
    assert not place.over
    provider.state = JobState.TIMEOUT
    look(poller, 40.0)
    assert place.over == [("0", "its block's job has ended (TIMEOUT: (Priority))")]
    poller.manager_gone("0", "m0", "n1", "its block's job has ended", held=1, running=["task 1"])
    look(poller, 40.0)
    assert len(place.over) == 1 and not poller._jobs._blame.tasks


# -- a provider that has no room


@pytest.mark.parametrize("strategy", ["keep", "simple"])
def test_a_provider_that_has_no_room_is_asked_again_and_no_fault_is_found(
    poller_of: Make, place: Place, strategy: str
) -> None:
    provider = Queue(init_blocks=3, max_blocks=3)
    provider.room, provider.state, place.waiting = 1, JobState.RUNNING, 100
    poller = poller_of(provider, strategy=strategy)
    come_up(poller, "0")
    for _ in range(5):
        look(poller)
    assert len(provider.submitted) == 1 and len(poller.statuses()) == 1 and not poller._jobs.streak.is_cautious
    assert "the provider has no room for another block now" in poller.explain()
    provider.room = None
    look(poller)
    look(poller)
    assert len(provider.submitted) == 3 and "no room" not in "\n".join(poller.explain())
    assert not place.given_up and not place.handled


def test_blocks_for_which_there_is_no_room_are_no_error_for_who_asks(poller_of: Make) -> None:
    provider = Queue(init_blocks=0, max_blocks=3)
    poller = poller_of(provider, strategy="none")
    provider.room = 2
    assert len(poller._scale_out(3)) == 2 and poller._scale_out(1) == []


def test_tasks_do_not_wait_for_a_block_that_nobody_will_ask_for_again(poller_of: Make, place: Place) -> None:
    provider = Queue(init_blocks=1, max_blocks=1)
    provider.room = 0
    poller = poller_of(provider, strategy="none")
    look(poller)
    assert "no room for a block" in str(place.given_up)


# -- what is told of states


def test_each_change_of_a_state_is_told_once(poller_of: Make, place: Place) -> None:
    provider = Queue(init_blocks=2, max_blocks=2)
    place.is_watched = True
    poller = poller_of(provider)
    look(poller)
    assert place.states == [("0", "PENDING"), ("1", "PENDING")]
    come_up(poller, "1")
    look(poller)
    look(poller)
    assert place.states[2:] == [("1", "RUNNING")]
    provider.states["parsl_pool.pool.1"] = JobState.TIMEOUT
    look(poller, 40.0)
    look(poller)
    assert place.states[3] == ("1", "TIMEOUT") and place.states[4:] == [("2", "PENDING")], "and of the next one"
    assert poller.job_ids() == {number: f"parsl_pool.pool.{number}" for number in "012"}


def test_the_provider_is_not_polled_before_its_interval_is_over(poller_of: Make) -> None:
    provider = Queue(30.0)
    poller = poller_of(provider)
    look(poller, 40.0)
    asked = len(provider.asked)
    poller._poll()
    CLOCK.now += 31.0
    poller._poll()
    poller._poll()
    assert len(provider.asked) == asked + 1
    never = Queue(0.0)
    poller = poller_of(never)
    poller._poll()
    assert not never.asked
