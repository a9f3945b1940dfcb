"""Managers of other hosts have no part in the client's memory. Cancelling works all the same, for what still waits."""

import random
import socket
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import CancelledError, wait
from pathlib import Path
from typing import Any

import pytest

from parsl_pool import Config, HighThroughputExecutor, ParslPoolExecutor
from parsl_pool.providers import LocalProvider, WrappedLauncher
from tests.eventually import eventually
from tests.recovery.ledger import note, noted

LOOPBACK = "127.0.0.1"


def pool_elsewhere(monkeypatch: pytest.MonkeyPatch, **options: Any) -> ParslPoolExecutor:
    """Its manager has another host's name than the client, and so does not look for the client's memory."""
    executor = HighThroughputExecutor(
        provider=LocalProvider(min_blocks=1), manager_inside=False, max_workers_per_node=2, address=LOOPBACK, **options
    )
    with monkeypatch.context() as elsewhere:
        elsewhere.setattr(socket, "gethostname", lambda: "elsewhere")
        pool = ParslPoolExecutor(Config([executor], run_dir=None))
        assert list(pool.map(time.sleep, [0.1] * 2)) == [None] * 2
    (manager,) = pool._backend.workers.managers.values()
    assert not manager.shares
    return pool


@pytest.fixture
def pool(monkeypatch: pytest.MonkeyPatch) -> Iterator[ParslPoolExecutor]:
    with pool_elsewhere(monkeypatch) as pool:
        yield pool


def wait_for(path: Path) -> str:
    while not path.exists():
        time.sleep(0.01)
    return "gone on"


def test_what_waits_can_be_cancelled_and_what_runs_is_seen_to(pool: ParslPoolExecutor, tmp_path: Path) -> None:
    holders = [pool.submit(wait_for, tmp_path / "go on") for _ in range(2)]
    eventually(lambda: all(future.running() for future in holders))
    waiting = [pool.submit(note, tmp_path / "ledger", number) for number in range(100)]
    cancelled = [number for number, future in enumerate(waiting) if future.cancel()]
    assert len(cancelled) >= 80  # a few are with the manager already
    assert not any(future.cancel() for future in holders)
    (tmp_path / "go on").touch()
    assert [future.result() for future in holders] == ["gone on"] * 2
    for number, future in enumerate(waiting):
        if number in cancelled:
            assert future.cancelled()
            with pytest.raises(CancelledError):
                future.result()
        else:
            future.result()
    assert sorted(noted(tmp_path / "ledger")) == sorted(set(range(100)) - set(cancelled))
    assert pool.submit(abs, -1).result() == 1
    eventually(lambda: not pool._backend.link.tries.table)  # nothing is waited for for ever


def test_a_running_task_is_killed(pool: ParslPoolExecutor, tmp_path: Path) -> None:
    endless = pool.submit(wait_for, tmp_path / "never")
    eventually(endless.running)
    assert endless.kill()
    with pytest.raises(CancelledError):
        endless.result()
    assert pool.submit(abs, -1).result() == 1


def test_a_task_is_either_cancelled_or_run(pool: ParslPoolExecutor, tmp_path: Path) -> None:
    choose = random.Random(1)
    futures = [pool.submit(note, tmp_path / "ledger", number) for number in range(3000)]
    said = {number: futures[number].cancel() for number in choose.sample(range(3000), 1000)}
    wait(futures)
    ran = noted(tmp_path / "ledger")
    assert set(ran.values()) == {1}
    for number, future in enumerate(futures):
        assert future.cancelled() == (number not in ran)
        assert future.cancelled() or not said.get(number)
    assert pool.submit(abs, -1).result() == 1


def test_the_rest_is_cancelled_at_the_end(pool: ParslPoolExecutor, tmp_path: Path) -> None:
    holders = [pool.submit(wait_for, tmp_path / "go on") for _ in range(2)]
    eventually(lambda: all(future.running() for future in holders))
    waiting = [pool.submit(abs, number) for number in range(1000)]
    pool.shutdown(wait=False, cancel_futures=True)
    assert sum(future.cancelled() for future in waiting) >= 900
    (tmp_path / "go on").touch()
    assert [future.result() for future in holders] == ["gone on"] * 2


APART = "unshare --pid --fork --kill-child --mount-proc"


def test_process_ids_of_containers_are_not_taken_for_ours() -> None:
    """Their host has our host's name. Both managers have the same process id, and so have their workers."""
    if subprocess.run([*APART.split(), "true"], capture_output=True).returncode:
        pytest.skip("no right to make a process namespace")
    provider = LocalProvider(init_blocks=2, min_blocks=2, max_blocks=2, launcher=WrappedLauncher(APART))
    executor = HighThroughputExecutor(provider=provider, max_workers_per_node=1)
    with ParslPoolExecutor(Config([executor], run_dir=None)) as pool:
        assert list(pool.map(slow_pid, range(8), chunksize=1)) == list(range(8))
        eventually(lambda: len(pool.status().managers) == 2)
        managers = list(pool._backend.workers.managers.values())
        assert len({manager.pid for manager in managers}) == 1 and not any(manager.shares for manager in managers)
        assert len(pool._processes) == 2
        before = [process.pid for process in pool._processes.values()]
        assert len(set(before)) == 1
        for process in pool._processes.values():
            process.kill()  # nobody's: what has that number here is another process
        assert pool.submit(abs, -1).result() == 1
        assert [process.pid for process in pool._processes.values()] == before


def slow_pid(number: int) -> int:
    time.sleep(0.2)
    return number
