"""APScheduler 3 runs its jobs on the pool, also after one of them ended its worker."""

import queue
from collections.abc import Callable, Iterator
from concurrent.futures.process import BrokenProcessPool
from typing import Any

import pytest

from tests.eventually import eventually
from tests.frameworks import work
from tests.frameworks.conftest import STDLIB

events: Any = pytest.importorskip("apscheduler.events", reason="needs apscheduler<4 (extra 'frameworks')")
executors: Any = pytest.importorskip("apscheduler.executors.pool", reason="needs apscheduler<4")
background: Any = pytest.importorskip("apscheduler.schedulers.background", reason="needs apscheduler<4")


class OurJobs(executors.BasePoolExecutor):  # type: ignore[misc]
    """What APScheduler's documentation tells users to write for a pool of their own."""

    def __init__(self, pool: Any) -> None:
        super().__init__(pool)


class RebuildingJobs(executors.ProcessPoolExecutor):  # type: ignore[misc]
    """APScheduler's class for process pools, which makes a new pool when submit says it is broken."""

    def __init__(self, pool: Any) -> None:
        executors.BasePoolExecutor.__init__(self, pool)
        self.pool_kwargs: dict[str, Any] = {}


class Jobs:
    """A running scheduler, and the events of its jobs as they come."""

    def __init__(self, executor: Any) -> None:
        self.executor = executor
        self._ended: queue.Queue[Any] = queue.Queue()
        # A machine under load starts a job late: not a reason to leave it out, here.
        self.scheduler = background.BackgroundScheduler(
            executors={"default": executor}, job_defaults={"misfire_grace_time": None}
        )
        ended = events.EVENT_JOB_EXECUTED | events.EVENT_JOB_ERROR | events.EVENT_JOB_MISSED
        self.scheduler.add_listener(self._ended.put, ended)
        self.scheduler.start()

    def run(self, function: Callable[..., Any], *args: Any) -> None:
        self.scheduler.add_job(function, args=args)

    def ended(self, count: int) -> list[Any]:
        return [self._ended.get(timeout=60) for _ in range(count)]


@pytest.fixture(params=[OurJobs, RebuildingJobs])
def jobs(request: pytest.FixtureRequest, pool: Any) -> Iterator[Jobs]:
    jobs = Jobs(request.param(pool))
    yield jobs
    jobs.scheduler.shutdown()  # ends the executor's pool as well: may be another one


def test_jobs_run_on_workers(jobs: Jobs, ran_on_workers: Callable[..., bool]) -> None:
    for n in range(20):
        jobs.run(work.square_and_pid, n)
    results = [event.retval for event in jobs.ended(20)]
    assert sorted(value for value, _ in results) == [n * n for n in range(20)]
    assert ran_on_workers([pid for _, pid in results])


def test_a_job_that_fails_is_reported_as_failed(jobs: Jobs) -> None:
    jobs.run(work.divide, 1, 0)
    (event,) = jobs.ended(1)
    assert isinstance(event.exception, ZeroDivisionError)


def test_a_job_that_ends_its_worker_costs_nothing_else(
    jobs: Jobs, pool: Any, caplog: pytest.LogCaptureFixture
) -> None:
    if STDLIB and isinstance(jobs.executor, OurJobs):
        pytest.skip("ProcessPoolExecutor is of no use after that")

    def reported() -> list[BaseException | None]:
        return [record.exc_info[1] for record in caplog.records if record.exc_info]

    jobs.run(work.kill_self)
    (error,) = eventually(reported)  # APScheduler logs what did not come back, and has no event for it
    assert isinstance(error, BrokenProcessPool)
    for n in range(10):
        jobs.run(work.square, n)
    assert sorted(event.retval for event in jobs.ended(10)) == [n * n for n in range(10)]
    assert STDLIB or jobs.executor._pool is pool  # no reason to build another one
