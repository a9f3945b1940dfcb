"""`future.attempts`: where and when each try ran that failed, and with what error."""

import os
import signal
import threading
import time
from collections.abc import Iterator

import pytest

from parsl_pool import AppFuture, Config, ParslPoolExecutor, ThreadPoolExecutor
from parsl_pool.errors import AppTimeout, WorkerLost
from parsl_pool.futures.states import Attempt

pytestmark = pytest.mark.timeout(60)


@pytest.fixture
def pool() -> Iterator[ParslPoolExecutor]:
    with ParslPoolExecutor(1) as pool:
        yield pool


def fail_slowly() -> None:
    time.sleep(0.05)
    raise ValueError(f"process {os.getpid()}\nand more")


def check_place(attempt: Attempt, before: float, after: float) -> None:
    assert attempt.host == os.uname().nodename
    assert before <= attempt.began <= attempt.ended <= after
    assert attempt.ended - attempt.began >= 0.05
    assert attempt.error == f"ValueError: {attempt.worker}"


@pytest.mark.parametrize("opened", [False, True])
def test_a_single_try_that_raised(pool: ParslPoolExecutor, opened: bool) -> None:
    """Whether its error has been looked at or not."""
    before = time.time()
    future = pool.submit(fail_slowly)
    while not future.done():
        time.sleep(0.01)
    if opened:
        assert isinstance(future.exception(), ValueError)
    (attempt,) = future.attempts
    assert attempt.number == 0
    check_place(attempt, before, time.time())
    assert future.exception() is not None


def test_each_try_of_several(pool: ParslPoolExecutor) -> None:
    before = time.time()
    future = pool.options(retries=2).submit(fail_slowly)
    future.exception()
    after = time.time()
    assert [attempt.number for attempt in future.attempts] == [0, 1, 2]
    for attempt in future.attempts:
        check_place(attempt, before, after)
    assert all(one.ended <= next.began for one, next in zip(future.attempts, future.attempts[1:]))


def test_tries_that_the_flow_decides_about(pool: ParslPoolExecutor) -> None:
    before = time.time()
    future = pool.options(retries=1, retry_delay=0.01).submit(fail_slowly)
    future.exception()
    assert len(future.attempts) == 2
    for attempt in future.attempts:
        check_place(attempt, before, time.time())


def test_what_succeeds_or_never_ran_has_none(pool: ParslPoolExecutor) -> None:
    failed = pool.submit(fail_slowly)
    futures: list[AppFuture[object]] = [
        pool.submit(abs, -1), pool.submit(abs, failed), pool.submit(threading.Lock),
    ]  # fmt: skip
    assert [future.exception() is None for future in futures] == [True, False, False]
    assert [len(future.attempts) for future in futures] == [0, 0, 1]  # the result of the last could not be pickled


@pytest.mark.parametrize("retries", [0, 1])
def test_a_worker_that_was_lost(pool: ParslPoolExecutor, retries: int) -> None:
    future = pool.options(retries=retries).submit(os.kill, 0, signal.SIGKILL)
    assert isinstance(future.exception(), WorkerLost)
    assert len(future.attempts) == 1 + retries
    for attempt in future.attempts:
        assert attempt.host == os.uname().nodename and attempt.worker.startswith("process ")
        assert "SIGKILL" in attempt.error and attempt.ended > 0


@pytest.mark.parametrize("retries", [0, 3])
def test_a_walltime(pool: ParslPoolExecutor, retries: int) -> None:
    future = pool.options(walltime=0.05, retries=retries).submit(time.sleep, 30)
    assert isinstance(future.exception(), AppTimeout)
    (attempt,) = future.attempts
    assert "ran longer than its walltime of 0.05 s" in attempt.error and attempt.ended > 0


def test_in_threads() -> None:
    with ParslPoolExecutor(Config([ThreadPoolExecutor(thread_name_prefix="mine")], retries=1)) as pool:
        before = time.time()
        future = pool.submit(fail_slowly)
        future.exception()
    assert len(future.attempts) == 2
    for attempt in future.attempts:
        assert attempt.host == os.uname().nodename and attempt.worker.startswith("mine")
        assert before <= attempt.began <= attempt.ended - 0.05 and attempt.error.startswith("ValueError: process")
        assert "\n" not in attempt.error
