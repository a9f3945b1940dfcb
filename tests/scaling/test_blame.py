"""Who is to blame for lost places and workers."""

import pytest

from parsl_pool.providers import JobState
from tests.scaling.kept import Make, Place, Queue, come_up, look


def test_a_node_that_loses_the_tasks_of_several_is_excluded_and_its_block_drained(
    poller_of: Make, place: Place, caplog: pytest.LogCaptureFixture
) -> None:
    provider = Queue(init_blocks=1, max_blocks=10)
    poller = poller_of(provider)
    for number in range(3):
        come_up(poller, str(number), host="bad")
        place.finished += 1
        provider.states[f"parsl_pool.pool.{number}"] = JobState.FAILED
        running = [f"task {number} (fit)"]
        poller.manager_gone(str(number), f"m{number}", "bad", "its node is gone", held=1, running=running)
        look(poller)
        look(poller)
    assert provider.excluded == ["bad"] and "node bad has lost 3 places" in caplog.text
    come_up(poller, "3", host="bad")
    assert place.drained == ["3"], "it was on its way already"


def test_the_end_of_a_walltime_is_nobodys_fault(poller_of: Make, place: Place) -> None:
    provider = Queue(init_blocks=1, max_blocks=10)
    poller = poller_of(provider)
    for number in range(5):
        come_up(poller, str(number), host="n1")
        place.finished += 1
        provider.states[f"parsl_pool.pool.{number}"] = JobState.TIMEOUT
        running = [f"task {number} (fit)", "task 9 (x)"]
        poller.manager_gone(str(number), f"m{number}", "n1", "its job ended", held=1, running=running)
        look(poller)
        look(poller)
    assert not provider.excluded and not poller._jobs._blame.tasks
