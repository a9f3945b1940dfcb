"""How long the interchange gets for its end, when an executor is shut down."""

import os
import signal
import time

import psutil
import pytest

from parsl_pool import HighThroughputExecutor
from parsl_pool.errors import ConfigurationError, WrongType
from tests.eventually import eventually
from tests.recovery.arrangement import is_over

pytestmark = pytest.mark.timeout(90)


def test_an_interchange_that_does_not_end_in_time_is_killed_and_all_ends_with_it(manager_inside: bool) -> None:
    executor = HighThroughputExecutor(max_workers_per_node=1, manager_inside=manager_inside)
    executor.start()
    assert executor.submit(abs, {}, -1).result(60) == 1
    worker = executor.submit(os.getpid, {}).result(30)
    interchange = psutil.Process(executor.link._process.pid)  # type: ignore[union-attr]  # it is there
    processes = [interchange, *interchange.children(recursive=True), psutil.Process(worker)]
    interchange.send_signal(signal.SIGSTOP)
    begun = time.monotonic()
    executor.shutdown(timeout=1)
    assert time.monotonic() - begun >= 1, "it got its time"
    assert executor.stage_name() == "closed"
    eventually(lambda: all(map(is_over, processes)), within=30)


def test_a_good_one_needs_no_time(manager_inside: bool) -> None:
    executor = HighThroughputExecutor(max_workers_per_node=1, manager_inside=manager_inside)
    executor.start()
    future = executor.submit(time.sleep, {}, 0.3)
    executor.shutdown(timeout=30)
    assert future.done() and future.exception(0) is None and executor.stage_name() == "closed"


def test_one_that_was_never_started_can_be_shut_down() -> None:
    executor = HighThroughputExecutor(max_workers_per_node=1)
    executor.shutdown(timeout=1)
    executor.shutdown()
    with pytest.raises(ConfigurationError, match="timeout must be greater than 0"):
        executor.shutdown(timeout=-1)
    with pytest.raises(WrongType, match="timeout must be a number of seconds"):
        executor.shutdown(timeout="long")  # type: ignore[arg-type]  # that is the point
