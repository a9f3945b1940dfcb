"""Who is to blame for lost places and workers."""

import os
import signal
import time
from typing import Any

import psutil
import pytest

from parsl_pool import Config, HighThroughputExecutor, ParslPoolExecutor
from parsl_pool.errors import ManagerLost, PlaceLost, WorkerLost
from parsl_pool.providers import JobState, JobStatus, LocalProvider
from parsl_pool.scaling.blame import FATAL, WORKERS, Blame
from parsl_pool.scaling.poller import JobStatusPoller
from tests.eventually import eventually
from tests.recovery.arrangement import shut_down
from tests.scaling.kept import Make, Place, Queue, come_up, look

# -- places


def lose(poller: JobStatusPoller, number: int, host: str, running: list[str]) -> None:
    """That block comes up there, and is lost with its tasks."""
    provider, block = poller._provider, str(number)
    come_up(poller, block, host=host)
    provider.states.setdefault(f"parsl_pool.pool.{number}", JobState.FAILED)
    poller.manager_gone(block, f"m{block}", host, "its node is gone", held=len(running), running=running)
    look(poller)
    look(poller, 1000.0)  # after a pause: several blocks in a row have come and gone


def test_a_node_that_loses_the_tasks_of_several_is_excluded_and_its_block_drained(
    poller_of: Make, place: Place, caplog: pytest.LogCaptureFixture
) -> None:
    provider = Queue(init_blocks=1, max_blocks=10)
    poller = poller_of(provider)
    for number in range(3):
        place.finished += 1
        lose(poller, number, "bad", [f"task {number} (fit)"])
    assert provider.excluded == ["bad"] and "node bad has lost 3 places" in caplog.text
    come_up(poller, "3", host="bad")
    assert place.drained == ["3"], "it was on its way already"


@pytest.mark.parametrize(
    "state, message", [(JobState.TIMEOUT, ""), (JobState.FAILED, "PREEMPTED"), (JobState.FAILED, "Preempted: others")]
)
def test_the_end_of_a_walltime_and_a_job_that_had_to_make_room_are_nobodys_fault(
    poller_of: Make, place: Place, state: JobState, message: str
) -> None:
    class Said(Queue):
        def status(self, job_ids: Any) -> list[JobStatus]:
            return [JobStatus(each.state, message) for each in super().status(job_ids)]

    provider = Said(init_blocks=1, max_blocks=10)
    poller = poller_of(provider)
    for number in range(FATAL + 1):
        place.finished += 1
        provider.states[f"parsl_pool.pool.{number}"] = state
        lose(poller, number, "n1", [f"task {number} (fit)", "task 99 (x)"])
    assert not provider.excluded and not place.condemned and not poller._jobs._blame.tasks


def test_the_one_task_that_was_in_all_places_that_were_lost_has_no_more_than_one_try(
    poller_of: Make, place: Place, caplog: pytest.LogCaptureFixture
) -> None:
    poller = poller_of(Queue(init_blocks=1, max_blocks=10))
    for number in range(FATAL):
        assert not place.condemned
        place.finished += 1
        lose(poller, number, f"n{number}", ["task 9 (f)", f"task {number} (f)", f"task {number // 2} (g)"])
    assert place.condemned == ["task 9 (f)"]
    told = "task 9 (f) was running in each of the last 4 places that were lost (on n0, n1, n2, n3), and no other task"
    assert told in caplog.text
    assert any(line.startswith("task 9 (f) was running in 4 places that were lost") for line in poller.explain())


@pytest.mark.parametrize("other", [[], ["task 1 (f)"]])
def test_a_task_is_not_to_blame_where_places_are_lost_without_it(
    poller_of: Make, place: Place, other: list[str]
) -> None:
    poller = poller_of(Queue(init_blocks=1, max_blocks=10))
    for number in range(2 * FATAL - 1):
        place.finished += 1
        lose(poller, number, f"n{number}", other if number == FATAL - 1 else ["task 9 (f)"])
    assert not place.condemned


def test_of_two_tasks_that_always_were_together_nobody_knows_which_it_is() -> None:
    blame = Blame()
    told = [blame.lost(f"n{number}", ["a", "b"]) for number in range(10)]
    assert {suspect.kind for news in told for suspect in news} == {"task"} and not blame.deadly


# -- workers


def test_a_node_that_alone_loses_workers_is_excluded_and_its_block_drained(poller_of: Make, place: Place) -> None:
    provider = Queue(init_blocks=2, max_blocks=4)
    poller = poller_of(provider)
    come_up(poller, "0", host="bad")
    come_up(poller, "1", host="good")
    for number in range(WORKERS):
        assert not provider.excluded
        poller.worker_lost("bad", f"task {number} (fit)")
        look(poller)
    assert provider.excluded == ["bad"] and place.drained == ["0"]
    assert "node bad has lost the workers of 5 tasks: perhaps it is bad" in poller.explain()


def test_the_only_node_there_is_does_not_stand_out() -> None:
    blame = Blame()
    told = [blame.worker_lost("n1", f"task {number}", {"n1"}) for number in range(50)]
    assert not any(told) and not blame.nodes


def test_where_workers_die_everywhere_no_node_stands_out() -> None:
    blame = Blame()
    for number in range(300):
        blame.worker_lost(f"n{number % 3}", f"task {number}", {"n0", "n1", "n2"})
    assert not blame.nodes


def test_a_task_that_dies_on_several_nodes_says_nothing_of_them() -> None:
    blame = Blame()
    for number in range(20):
        blame.worker_lost("n2", f"task {number}", {"n1", "n2"})
    assert blame.nodes == {"n2"}
    blame = Blame()
    for number in range(20):
        for host in ("n1", "n2"):
            blame.worker_lost(host, f"task {number}", {"n1", "n2"})
    assert not blame.nodes and len(blame.tasks) == 20
    assert blame.explain()[-1] == "so were 10 more tasks" and len(blame.explain()) == 11


def test_what_a_bad_node_has_lost_does_not_excuse_the_next_one() -> None:
    blame, hosts = Blame(), {"n1", "n2", "n3"}
    for host in ("n1", "n2"):
        for number in range(WORKERS):
            blame.worker_lost(host, f"{host} {number}", hosts)
    assert blame.nodes == {"n1", "n2"}
    for number in range(50):
        blame.worker_lost("n3", f"n3 {number}", hosts)
    assert blame.nodes == {"n1", "n2"}, "it is the last"


def test_what_a_deadly_task_has_ended_says_nothing_of_nodes() -> None:
    """Though others were running beside it each time, and most of it was on one of them."""
    blame = Blame()
    for number, host in enumerate(["n1", "n1", "n2", "n1", "n1", "n1", "n1"]):
        blame.lost(host, ["task 99 (f)", f"task {number} (g)"])
    assert blame.deadly == {"task 99 (f)"} and not blame.nodes


# -- for real


def ends(what: str) -> None:
    """The worker, or its manager: the parent of what it was forked from."""
    os.kill(os.getpid() if what == "worker" else psutil.Process(os.getppid()).ppid(), signal.SIGKILL)
    time.sleep(60)


@pytest.mark.timeout(120)
def test_a_task_that_ends_its_places_is_named() -> None:
    executor = HighThroughputExecutor(
        provider=LocalProvider(init_blocks=1, max_blocks=1), max_workers_per_node=1, manager_inside=False
    )
    pool = ParslPoolExecutor(Config([executor], run_dir=None, retries=1, lost_retries=1))
    try:
        assert isinstance(pool.submit(ends, "worker").exception(60), WorkerLost)
        eventually(lambda: "(ends) was running in 2 places that were lost" in pool.explain(), within=30)
        error = pool.submit(ends, "manager").exception(60)
        assert isinstance(error, ManagerLost)
        assert "(ends) was running in 2 places that were lost (" in str(error) and "perhaps it is what" in str(error)
        assert "\n    0: " in str(error) and "\n    1: " in str(error)
    finally:
        shut_down(pool)


@pytest.mark.timeout(120)
def test_a_task_that_ends_its_places_fails_at_the_fifth_whatever_it_may_lose(manager_inside: bool) -> None:
    """And nobody else pays for it: neither what waits, nor the pool, though inside each of its places was an
    interchange, of which four may end within 10 s."""
    executor = HighThroughputExecutor(max_workers_per_node=1, manager_inside=manager_inside)
    pool = ParslPoolExecutor(Config([executor], run_dir=None, lost_retries=100))
    try:
        deadly = pool.submit(ends, "manager")
        waits = [pool.submit(abs, -number) for number in range(20)]
        error = deadly.exception(100)
        assert isinstance(error, PlaceLost)
        assert "was running in 5 places that were lost" in str(error) and "so it is not tried again" in str(error)
        assert len(deadly.attempts) == FATAL + 1
        assert [future.result(30) for future in waits] == list(range(20))
        assert pool.submit(abs, -1).result(30) == 1
    finally:
        shut_down(pool)
