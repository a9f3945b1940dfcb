"""Walltimes of tasks in threads: the future fails at the time, commands are ended, and the thread runs on."""

import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from parsl_pool import Config, ParslPoolExecutor, ThreadPoolExecutor, bash_app, python_app
from parsl_pool.errors import AppTimeout, BashExitFailure
from parsl_pool.executors import walltimes
from parsl_pool.executors.walltimes import Walltimes
from parsl_pool.futures import AppFuture
from tests.eventually import eventually

pytestmark = pytest.mark.timeout(60)


@pytest.fixture
def pool() -> Iterator[ParslPoolExecutor]:
    with ParslPoolExecutor(Config([ThreadPoolExecutor(max_threads=2)], retries=1)) as pool:
        yield pool


def test_the_future_fails_though_the_thread_runs_on(pool: ParslPoolExecutor) -> None:
    """It is not tried again, though there are retries: as in processes."""
    go, calls = threading.Event(), []

    def wait_for_it() -> bool:
        calls.append(threading.current_thread().name)
        return go.wait(30)

    try:
        future = pool.options(walltime=0.05).submit(wait_for_it)
        with pytest.raises(AppTimeout, match=r"longer than its walltime of 0\.05 s"):
            future.result()
        assert future.reason == "walltime" and future.culprit == "task"
        (attempt,) = future.attempts
        assert attempt.host == os.uname().nodename and attempt.error.startswith("AppTimeout")
        assert attempt.ended - attempt.began >= 0.04
        assert pool.submit(abs, -1).result() == 1  # the other thread
    finally:
        go.set()
    pool.shutdown()
    assert len(calls) == 1
    with pytest.raises(AppTimeout):
        future.result()  # what the function returned in the end changed nothing
    assert (pool.status().failed, pool.status().done) == (1, 2)


def test_what_ends_in_time_ends_well(pool: ParslPoolExecutor) -> None:
    timed = pool.options(walltime=30)
    assert timed.submit(abs, -1).result() == 1
    assert isinstance(timed.submit(divmod, 1, 0).exception(), ZeroDivisionError)
    assert list(timed.map(abs, range(-50, 0))) == list(range(50, 0, -1))
    assert pool.status().retried == 1


def test_one_that_fails_late_has_failed_by_its_time(pool: ParslPoolExecutor) -> None:
    go = threading.Event()

    def fail_late() -> None:
        go.wait(30)
        raise ValueError

    future = pool.options(walltime=0.05).submit(fail_late)
    error = future.exception()
    go.set()
    pool.shutdown()
    assert isinstance(error, AppTimeout) and future.exception() is error and len(future.attempts) == 1


def test_waiting_for_a_thread_does_not_count(pool: ParslPoolExecutor) -> None:
    go = threading.Event()
    first = [pool.submit(go.wait, 30) for _ in range(2)]
    late = pool.options(walltime=5).submit(abs, -1)
    time.sleep(0.01)
    assert not pool._backend._walltimes._limits
    go.set()
    assert late.result() == 1 and all(future.result() for future in first)


@python_app
def linger(seconds: float, walltime: float = 0.05) -> str:
    time.sleep(seconds)
    return f"{seconds}, of {walltime}"


def test_as_an_app_by_default_and_by_call(pool: ParslPoolExecutor) -> None:
    linger.data_flow_kernel = pool
    assert isinstance(linger(0.3).exception(), AppTimeout)
    assert linger(0.0, walltime=30).result() == "0.0, of 30"


@bash_app
def sleep_in_the_background(path: str, walltime: float = 0.7) -> str:
    return f"sleep 300 & echo $! > {path}; (sleep 300; true) & sleep 300"


def test_a_command_and_what_it_has_started_are_ended(pool: ParslPoolExecutor, tmp_path: Path) -> None:
    sleep_in_the_background.data_flow_kernel = pool
    before = set(psutil.Process().children(recursive=True))
    future = sleep_in_the_background(str(tmp_path / "pid"))
    with pytest.raises(AppTimeout):
        future.result()
    pid = int((tmp_path / "pid").read_text())
    eventually(lambda: not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE)
    eventually(lambda: not set(psutil.Process().children(recursive=True)) - before)
    pool.shutdown()  # the thread is free again: else this would take 300 s


@bash_app
def quick(command: str, walltime: float = 30) -> str:
    return command


def test_a_command_in_time(pool: ParslPoolExecutor, tmp_path: Path) -> None:
    quick.data_flow_kernel = pool
    assert quick("true").result() == 0
    assert isinstance(quick("exit 3").exception(), BashExitFailure)
    assert quick(f"echo $$ > {tmp_path}/pid; cut -d' ' -f5 /proc/$$/stat > {tmp_path}/group").result() == 0
    pid, group = ((tmp_path / name).read_text().strip() for name in ("pid", "group"))
    assert pid == group != str(os.getpgrp())


@bash_app
def slow_to_say(path: str, walltime: float = 0.05) -> str:
    time.sleep(0.4)
    return f"touch {path}"


def test_a_command_whose_time_is_over_before_it_is_known_is_not_run(pool: ParslPoolExecutor, tmp_path: Path) -> None:
    slow_to_say.data_flow_kernel = pool
    assert isinstance(slow_to_say(str(tmp_path / "ran")).exception(), AppTimeout)
    pool.shutdown()
    assert not (tmp_path / "ran").exists()


def test_tasks_without_a_walltime_have_no_thread_for_it_and_all_others_have_one() -> None:
    def watchers() -> list[str]:
        return [thread.name for thread in threading.enumerate() if thread.name.endswith("-walltimes")]

    with ParslPoolExecutor(Config([ThreadPoolExecutor(max_threads=3)])) as pool:
        assert pool.submit(abs, -1).result() == 1
        assert watchers() == []
        assert sum(pool.options(walltime=30).map(abs, range(100))) == 4950
        assert len(watchers()) == 1
    assert watchers() == []


def test_long_limits_of_many_short_tasks_take_no_memory() -> None:
    limits = Walltimes("test-walltimes", lambda future: None)
    try:
        for _ in range(1000):
            assert limits.end(limits.begin(AppFuture(), 3600))
        assert len(limits._heap) <= walltimes._FEW + 1 and not limits._limits
    finally:
        limits.close()


def test_each_try_has_its_own_time() -> None:
    def cost(error: BaseException, record: object) -> float:
        return 1.0

    calls: list[int] = []

    def slow_at_first() -> int:
        calls.append(1)
        if len(calls) < 3:
            time.sleep(0.3)
        return len(calls)

    config = Config([ThreadPoolExecutor(max_threads=4)], retries=2, retry_handler=cost)
    with ParslPoolExecutor(config) as pool:
        future = pool.options(walltime=0.1).submit(slow_at_first)
        assert future.result() == 3
        assert [attempt.error.partition(":")[0] for attempt in future.attempts] == ["AppTimeout", "AppTimeout"]
