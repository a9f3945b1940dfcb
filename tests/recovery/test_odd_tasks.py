"""Tasks that treat their worker badly without failing: they get their result, and the pool goes on."""

import gc
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from functools import partial
from pathlib import Path
from typing import Any

import psutil
import pytest

from parsl_pool import ParslPoolExecutor
from parsl_pool.errors import DeserializationError, RemoteError, WorkerLost
from tests.eventually import eventually
from tests.faults import FailsToPickle, FailsToRebuild, FailsToRebuildError, fail, make, make_and_raise
from tests.recovery.arrangement import Arrangement
from tests.recovery.ledger import note, noted

BIG = 1 << 20
_hoard: list[object] = []


def close_everything() -> int:
    os.closerange(0, 65536)
    return 1


def close_standard_streams() -> int:
    os.closerange(0, 3)
    sys.stdout = sys.stderr = None  # some programs do that
    return 1


def leak_descriptors() -> int:
    count = 0
    try:
        while True:
            os.dup(0)
            count += 1
    except OSError:
        return count


def leak_threads() -> int:
    for _ in range(20):
        threading.Thread(target=time.sleep, args=(1000,)).start()
    return 1


def leave_a_child(path: Path) -> int:
    """The child must end with the pool, though it has the worker's descriptors, and ignores SIGTERM."""
    pid = os.fork()
    if not pid:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        while True:
            signal.pause()
    path.write_text(str(pid))
    return pid


def fork_and_return(path: Path, task: int, how: str) -> int:
    """Both the worker and its child come back from this call."""
    note(path, task)
    pid = os.fork()
    if pid:
        os.waitpid(pid, 0)
        return task
    if how == "raises":
        raise ValueError("in the child")
    if how == "exits":
        sys.exit(3)
    return -1


def lose_the_directory(path: str) -> int:
    os.mkdir(path)
    os.chdir(path)
    os.rmdir(path)
    return 1


def flood_stderr() -> int:
    os.write(2, b"x" * 100 + b"\n")
    for _ in range(1000):
        os.write(2, b"." * 1023 + b"\r")
    return 1


def ignore_signals() -> int:
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGCHLD, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    return 1


def give_back(value: Any) -> Any:
    return value


def goes_on(pool: ParslPoolExecutor) -> None:
    """Small and large tasks come back as before; a large one needs descriptors on both sides."""
    assert list(pool.map(abs, range(-40, 0), timeout=15)) == list(range(40, 0, -1))
    big = bytes(BIG)
    assert [future.result(15) == big for future in [pool.submit(give_back, big) for _ in range(4)]] == [True] * 4


@pytest.mark.parametrize(
    "odd",
    [close_standard_streams, leak_threads, flood_stderr, ignore_signals],
    ids=lambda fn: fn.__name__,
)
def test_an_odd_task_returns_and_the_pool_goes_on(arrangement: Arrangement, odd: Callable[[], int]) -> None:
    with arrangement.pool(2) as pool:
        futures = [pool.submit(odd) for _ in range(4)]
        assert [future.result(15) for future in futures] == [1] * 4
        goes_on(pool)


def test_a_task_that_closes_all_descriptors_costs_at_most_itself(arrangement: Arrangement) -> None:
    with arrangement.pool(2) as pool:
        futures = [pool.submit(close_everything) for _ in range(4)]
        for future in futures:
            assert isinstance(future.exception(15), WorkerLost | None)
        goes_on(pool)


def test_a_worker_without_free_descriptors_still_gets_large_tasks(arrangement: Arrangement) -> None:
    with arrangement.pool(1) as pool:
        assert pool.submit(leak_descriptors).result(60) > 100
        goes_on(pool)


def test_a_worker_whose_directory_is_gone_works_on(arrangement: Arrangement, tmp_path: Path) -> None:
    with arrangement.pool(1) as pool:
        assert pool.submit(lose_the_directory, str(tmp_path / "gone")).result(15) == 1
        goes_on(pool)


@pytest.mark.parametrize("how", ["returns", "raises", "exits"])
def test_a_child_that_comes_back_from_a_task_is_no_second_worker(
    arrangement: Arrangement, tmp_path: Path, how: str
) -> None:
    ledger = tmp_path / "ledger"
    with arrangement.pool(2) as pool:
        futures = [pool.submit(fork_and_return, ledger, task, how) for task in range(20)]
        assert [future.result(15) for future in futures] == list(range(20))
        goes_on(pool)
    assert noted(ledger) == {task: 1 for task in range(20)}


def test_what_a_task_left_running_ends_with_the_pool(arrangement: Arrangement, tmp_path: Path) -> None:
    with arrangement.pool(1) as pool:
        child = psutil.Process(pool.submit(leave_a_child, tmp_path / "pid").result(15))
        goes_on(pool)
    eventually(lambda: not child.is_running() or child.status() == psutil.STATUS_ZOMBIE)


@pytest.mark.parametrize("where", ["argument", "result", "call"])
def test_what_hangs_can_be_killed(arrangement: Arrangement, tmp_path: Path, where: str) -> None:
    mark = tmp_path / "mark"
    hang = partial(note_and_hang, mark)
    with arrangement.pool(1) as pool:
        future: Future[Any]
        if where == "argument":
            future = pool.submit(give_back, FailsToRebuild(hang))
        elif where == "result":
            future = pool.submit(make, FailsToPickle, hang)
        else:
            future = pool.submit(hang)
        behind = pool.submit(abs, -3)
        eventually(mark.exists)
        assert future.kill()  # ours
        assert future.cancelled() or eventually(future.cancelled)
        assert behind.result(15) == 3
        goes_on(pool)


def note_and_hang(path: Path) -> None:
    note(path, 1)
    threading.Event().wait()


@pytest.mark.parametrize("error", [ValueError, SystemExit])
def test_a_hostile_error_with_retries_left_harms_nobody(
    arrangement: Arrangement, error: type[BaseException]
) -> None:
    """What is tried again is also looked at; that must not be the end of whoever looks."""
    with arrangement.pool(2, retries=2) as pool:
        future = pool.submit(make_and_raise, FailsToRebuildError, "x", partial(fail, error))
        assert isinstance(future.exception(15), RemoteError | DeserializationError)
        assert not pool._broken
        goes_on(pool)


def test_an_interruption_of_opening_reaches_whoever_opens(arrangement: Arrangement) -> None:
    """It could be Ctrl-C. Nobody but the reader notices, least of all the thread that brings results."""
    with arrangement.pool(2, retries=2) as pool:
        future = pool.submit(make_and_raise, FailsToRebuildError, "x", partial(fail, KeyboardInterrupt))
        eventually(future.done)
        for _ in range(2):
            with pytest.raises(KeyboardInterrupt):
                future.exception(15)
        assert not pool._broken
        goes_on(pool)


@pytest.mark.parametrize("error", [ValueError, SystemExit, KeyboardInterrupt, GeneratorExit])
def test_a_callback_that_raises_harms_nobody(arrangement: Arrangement, error: type[BaseException]) -> None:
    with arrangement.pool(2) as pool:
        called = threading.Event()
        future = pool.submit(time.sleep, 0.05)
        future.add_done_callback(lambda _: fail(error))
        future.add_done_callback(lambda _: called.set())
        assert future.result(15) is None
        assert called.wait(15)
        assert not pool._broken
        goes_on(pool)


def test_a_result_that_hangs_while_it_is_opened_hangs_only_its_reader(arrangement: Arrangement) -> None:
    release = threading.Event()
    _hoard.append(release)
    with arrangement.pool(2) as pool:
        future = pool.submit(make, FailsToRebuild, wait_for_release)
        reader = threading.Thread(target=future.result, name="reader")
        reader.start()
        goes_on(pool)
        assert reader.is_alive()
        release.set()
        reader.join(15)
        assert not reader.is_alive()
    _hoard.clear()
    gc.collect()


def wait_for_release() -> None:
    (release,) = _hoard
    assert isinstance(release, threading.Event)
    release.wait(15)
