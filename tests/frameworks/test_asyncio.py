"""asyncio hands calls to the pool, waits for them, and takes them back."""

import asyncio
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.frameworks import work
from tests.frameworks.conftest import STDLIB, WORKERS, TraceMaker

CALLS = 1000


async def _squares(pool: Any, numbers: range) -> list[tuple[int, int]]:
    loop = asyncio.get_running_loop()
    return await asyncio.gather(*(loop.run_in_executor(pool, work.square_and_pid, n) for n in numbers))


def test_a_thousand_calls_come_back_in_their_places(pool: Any, ran_on_workers: Callable[..., bool]) -> None:
    results = asyncio.run(_squares(pool, range(CALLS)))
    assert [value for value, _ in results] == [n * n for n in range(CALLS)]
    assert ran_on_workers([pid for _, pid in results])


def test_loops_in_several_threads_share_a_pool(pool: Any) -> None:
    values: dict[int, list[int]] = {}

    def run(start: int) -> None:
        results = asyncio.run(_squares(pool, range(start, start + 100)))
        values[start] = [value for value, _ in results]

    threads = [threading.Thread(target=run, args=(start,)) for start in (0, 100, 200, 300)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert values == {start: [n * n for n in range(start, start + 100)] for start in (0, 100, 200, 300)}


def test_an_exception_arrives_as_itself(pool: Any) -> None:
    async def divide() -> None:
        await asyncio.get_running_loop().run_in_executor(pool, work.divide, 1, 0)

    with pytest.raises(ZeroDivisionError):
        asyncio.run(divide())


def test_a_call_that_is_cancelled_in_time_never_runs(pool: Any, tmp_path: Path, trace: TraceMaker) -> None:
    gate, traced = tmp_path / "gate", trace(work.square)

    async def scenario() -> list[Any]:
        loop = asyncio.get_running_loop()
        holding = [
            loop.run_in_executor(pool, work.announce_and_wait_for, tmp_path / f"busy-{n}", gate)
            for n in range(WORKERS)
        ]
        await asyncio.to_thread(lambda: [work.wait_for(tmp_path / f"busy-{n}") for n in range(WORKERS)])
        waiting = [loop.run_in_executor(pool, traced, n) for n in range(20)]
        await asyncio.sleep(0)
        for future in waiting:
            future.cancel()
        outcomes = await asyncio.gather(*waiting, return_exceptions=True)
        gate.touch()
        await asyncio.gather(*holding)
        await _squares(pool, range(10))  # behind them in the queue: they would have run by now
        return outcomes

    assert all(isinstance(outcome, asyncio.CancelledError) for outcome in asyncio.run(scenario()))
    # CPython's pool hands out one call more than it has workers, and can't take these back.
    assert len(traced.pids()) <= (WORKERS + 1 if STDLIB else 0)


def test_a_timeout_of_asyncio_leaves_the_pool_usable(pool: Any, tmp_path: Path) -> None:
    gate = tmp_path / "gate"

    async def scenario() -> tuple[int, int]:
        loop = asyncio.get_running_loop()
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(loop.run_in_executor(pool, work.wait_for, gate), timeout=0.1)
        gate.touch()
        return await loop.run_in_executor(pool, work.square_and_pid, 12)

    assert asyncio.run(scenario())[0] == 144
