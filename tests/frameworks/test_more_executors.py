"""more-executors wraps the pool in layers that retry, throttle, cancel and await."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.eventually import eventually
from tests.frameworks import work
from tests.frameworks.conftest import STDLIB, WORKERS

more: Any = pytest.importorskip("more_executors", reason="needs more-executors")


Executors: Any = more.Executors


def test_a_call_is_retried(pool: Any, tmp_path: Path, ran_on_workers: Callable[..., bool]) -> None:
    with Executors.with_retry(pool, max_attempts=4, sleep=0.01, max_sleep=0.02) as executor:
        pid = executor.submit(work.fail_until, tmp_path / "calls", 3).result(60)
        assert ran_on_workers([pid])
        assert len((tmp_path / "calls").read_text().splitlines()) == 3


@pytest.mark.skipif(STDLIB, reason="ProcessPoolExecutor is of no use after one lost worker")
def test_a_call_that_ends_its_worker_is_retried(pool: Any, tmp_path: Path) -> None:
    with Executors.with_retry(pool, max_attempts=3, sleep=0.01, max_sleep=0.02) as executor:
        assert executor.submit(work.kill_self_once, tmp_path / "calls", 9).result(60) == 81


def test_a_throttle_lets_one_call_through_at_a_time(pool: Any, tmp_path: Path) -> None:
    gates = [tmp_path / f"gate-{n}" for n in range(3)]
    busy = [tmp_path / f"busy-{n}" for n in range(3)]
    with Executors.with_throttle(pool, count=1) as executor:
        futures = [executor.submit(work.announce_and_wait_for, *pair) for pair in zip(busy, gates)]
        for n, gate in enumerate(gates):
            eventually(busy[n].exists)
            assert not any(path.exists() for path in busy[n + 1 :])
            gate.touch()
        assert all(future.result(60) for future in futures)


def test_a_timeout_cancels_what_has_not_started(pool: Any, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    holding = [pool.submit(work.announce_and_wait_for, tmp_path / str(n), gate) for n in range(WORKERS)]
    for n in range(WORKERS):
        eventually((tmp_path / str(n)).exists)
    executor = Executors.with_timeout(pool, 0.2)
    waiting = [executor.submit(work.square, n) for n in range(5)]
    eventually(waiting[-1].cancelled)
    gate.touch()
    assert all(future.result(60) for future in holding)
    executor.shutdown()


def test_a_chain_of_layers_ends_in_asyncio(pool: Any) -> None:
    async def scenario(executor: Any) -> list[int]:
        return list(await asyncio.gather(*(executor.submit(work.square, n) for n in range(50))))

    chain = Executors.with_map(pool, lambda value: value + 1).with_retry(max_attempts=2).with_asyncio()
    assert asyncio.run(scenario(chain)) == [n * n + 1 for n in range(50)]
    chain.shutdown()
