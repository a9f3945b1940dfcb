"""Programs that were written for a pool which breaks: their loops must end well on ours too.

Many projects carry such a loop, as one lost worker disables ProcessPoolExecutor for ever.
"""

import os
import signal
from collections.abc import Callable
from concurrent.futures import BrokenExecutor, Future, as_completed
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.eventually import eventually
from tests.frameworks import work
from tests.frameworks.conftest import STDLIB, WORKERS

NUMBERS = range(30)
SQUARES = [n * n for n in NUMBERS]
MOST_REBUILDS = 5


def square_or_crash(crashes: Path, number: int) -> int:
    """Number 13 ends its worker at its first call."""
    return work.kill_self_once(crashes, number) if number == 13 else work.square(number)


def test_a_loop_that_makes_a_new_pool_and_submits_the_rest_again(pool_class: Any, tmp_path: Path) -> None:
    results: dict[int, int] = {}
    rebuilds = 0
    pool = pool_class(WORKERS)
    while len(results) < len(NUMBERS):
        try:
            futures = {
                pool.submit(square_or_crash, tmp_path / "calls", n): n for n in NUMBERS if n not in results
            }
            for future in as_completed(futures):
                results[futures[future]] = future.result()
        except BrokenProcessPool:
            rebuilds += 1
            assert rebuilds <= MOST_REBUILDS
            pool.shutdown(wait=False)
            pool = pool_class(WORKERS)
    pool.shutdown()
    assert [results[n] for n in NUMBERS] == SQUARES
    assert rebuilds == 1


def test_a_loop_that_maps_again_from_the_start(pool_class: Any, tmp_path: Path) -> None:
    for _ in range(MOST_REBUILDS):
        try:
            with pool_class(WORKERS) as pool:
                results = list(pool.map(square_or_crash, [tmp_path / "calls"] * len(NUMBERS), NUMBERS))
            break
        except BrokenProcessPool:
            continue
    assert results == SQUARES


def test_a_service_that_looks_after_its_pool(pool_class: Any, tmp_path: Path) -> None:
    """It checks `_broken` before each call, and copies what it knows of the old pool."""
    made = [pool_class(max_workers=WORKERS, initializer=work.append_line, initargs=(tmp_path / "started", 1))]

    def call(number: int) -> int:
        old = made[-1]
        if old._broken:
            made.append(
                type(old)(max_workers=old._max_workers, initializer=old._initializer, initargs=old._initargs)
            )
        future: Future[int] = made[-1].submit(square_or_crash, tmp_path / "calls", number)
        return future.result()

    def call_patiently(number: int) -> int:
        for _ in range(MOST_REBUILDS):
            try:
                return call(number)
            except BrokenProcessPool:
                continue
        raise AssertionError("no pool works")

    assert [call_patiently(n) for n in NUMBERS] == SQUARES
    assert len(made) == (2 if STDLIB else 1)
    for pool in made:
        pool.shutdown()


@pytest.mark.skipif(STDLIB, reason="ProcessPoolExecutor is of no use after one lost worker")
def test_a_lost_worker_costs_its_own_call_and_says_so(pool: Any, tmp_path: Path) -> None:
    futures = [pool.submit(square_or_crash, tmp_path / "calls", n) for n in NUMBERS]
    errors = {n: futures[n].exception() for n in NUMBERS if futures[n].exception()}
    assert list(errors) == [13]
    # Some services end themselves at a BrokenExecutor, since that used to be the end of the pool. The loops
    # here need the class to be what it is, so it is the text that has to tell.
    assert isinstance(errors[13], BrokenExecutor)
    assert "pool" in str(errors[13]) and "goes on" in str(errors[13])
    assert not pool._broken
    assert pool.submit(work.square, 3).result() == 9


@pytest.mark.skipif(STDLIB, reason="ProcessPoolExecutor is of no use after one lost worker")
def test_submit_does_not_raise_for_a_worker_that_is_lost(pool: Any) -> None:
    """What asks for a rebuild in programs that guard submit only."""
    deadly, harmless = [], []
    for n in range(60):
        if n % 10 == 0:
            deadly.append(pool.submit(work.kill_self))
        harmless.append(pool.submit(work.square, n))
    assert [future.result() for future in harmless] == [n * n for n in range(60)]
    assert all(isinstance(future.exception(), BrokenProcessPool) for future in deadly)


def _terminate(processes: list[Any]) -> None:
    for process in processes:
        process.terminate()


def _signal_pids(processes: list[Any]) -> None:
    for process in processes:
        os.kill(process.pid, signal.SIGTERM)


def _kill_the_living(processes: list[Any]) -> None:
    for process in processes:
        if process.is_alive():
            process.kill()


def _terminate_by_psutil(processes: list[Any]) -> None:
    for process in processes:
        psutil.Process(process.pid).terminate()


@pytest.mark.parametrize("stop", [_terminate, _signal_pids, _kill_the_living, _terminate_by_psutil])
@pytest.mark.parametrize("shutdown_first", [True, False])
def test_programs_that_stop_a_pool_through_its_processes(
    stop: Callable[[list[Any]], None], shutdown_first: bool, pool_class: Any, tmp_path: Path
) -> None:
    """`shutdown` has no way to end running calls, so this is how the world does it."""
    pool = pool_class(WORKERS)
    gate = tmp_path / "never"
    futures = [pool.submit(work.announce_and_wait_for, tmp_path / f"busy-{n}", gate) for n in range(WORKERS)]
    eventually(lambda: all((tmp_path / f"busy-{n}").exists() for n in range(WORKERS)))
    processes = list(pool._processes.values())
    workers = [psutil.Process(process.pid) for process in processes]
    assert len(workers) == WORKERS
    if shutdown_first:
        pool.shutdown(wait=False, cancel_futures=True)
        stop(processes)
    else:
        stop(processes)
        pool.shutdown(wait=True, cancel_futures=True)
    _, alive = psutil.wait_procs(workers, timeout=20)
    assert not alive
    assert all(isinstance(future.exception(30), BrokenProcessPool) for future in futures)
    assert not any(process.is_alive() for process in processes)
