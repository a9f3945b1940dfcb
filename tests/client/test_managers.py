"""What the client knows of its managers, and what it can ask of them: to take no more tasks, and to end in peace."""

import logging
import os
import platform
import socket
import time
from collections.abc import Iterator
from concurrent.futures import wait
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest

from parsl_pool import Config, HighThroughputExecutor, ParslPoolExecutor, __version__
from parsl_pool.errors import ConfigurationError
from parsl_pool.interchange import wire
from parsl_pool.providers import LocalProvider
from tests.eventually import eventually
from tests.recovery.arrangement import Arrangement, is_over
from tests.recovery.ledger import note, noted

pytestmark = pytest.mark.timeout(90)

FACTS = {
    "manager", "block_id", "worker_count", "tasks", "idle_duration", "idle_durations", "active", "draining", "hostname",
    "pid", "window", "python_version", "package_version",
}  # fmt: skip


@pytest.fixture
def arrangement(manager_inside: bool) -> Arrangement:
    return Arrangement(manager_inside)


@contextmanager
def two_blocks(workers: int = 1) -> Iterator[tuple[ParslPoolExecutor, HighThroughputExecutor]]:
    """A pool with two managers, both of which have registered."""
    provider = LocalProvider(init_blocks=2, min_blocks=2, max_blocks=2)
    executor = HighThroughputExecutor(max_workers_per_node=workers, provider=provider)
    with ParslPoolExecutor(Config([executor], lost_retries=0)) as pool:
        pool.submit(abs, 1).result(60)
        eventually(lambda: sorted(executor.connected_blocks()) == ["0", "1"], within=60)
        yield pool, executor


def until(path: Path, task: int, ledger: Path) -> str:
    """Which block it runs in, once the file is there."""
    note(ledger, task)
    eventually(path.exists, within=60)
    return os.environ["PARSL_WORKER_BLOCK_ID"]


def quickly(ledger: Path, task: int) -> str:
    note(ledger, task)
    return os.environ["PARSL_WORKER_BLOCK_ID"]


def manager_of(executor: HighThroughputExecutor, block: str) -> dict[str, Any]:
    (found,) = [each for each in executor.connected_managers() if each["block_id"] == block]
    return found


def test_a_manager_says_who_and_where_it_is(arrangement: Arrangement) -> None:
    with arrangement.pool(2) as pool:
        executor = pool._backend
        (manager,) = executor.connected_managers()
        assert set(manager) == FACTS
        assert (executor.connected_workers, executor.connected_blocks()) == (2, ["0"])
        assert (manager["worker_count"], manager["block_id"], manager["tasks"]) == (2, "0", 0)
        assert (manager["active"], manager["draining"]) == (True, False)
        assert (manager["hostname"], manager["pid"]) == (socket.gethostname(), arrangement.parts(pool).manager.pid)
        assert manager["python_version"] == ".".join(platform.python_version_tuple()[:2])
        assert manager["package_version"] == __version__


def test_a_pool_that_is_not_there_has_no_managers() -> None:
    executor = HighThroughputExecutor(max_workers_per_node=1)
    assert (executor.connected_workers, executor.connected_blocks(), executor.connected_managers()) == (0, [], [])
    executor.shutdown()
    assert executor.connected_managers() == []


def test_idle_time_passes_while_a_manager_holds_no_task(arrangement: Arrangement, tmp_path: Path) -> None:
    with arrangement.pool(1) as pool:
        first = pool._backend.connected_managers()[0]["idle_duration"]
        later = eventually(lambda: (pool._backend.connected_managers()[0]["idle_duration"] > first + 0.2))
        assert later
        future = pool.submit(until, tmp_path / "go", 1, tmp_path / "ledger")
        eventually(lambda: noted(tmp_path / "ledger"))
        (manager,) = pool._backend.connected_managers()
        assert (manager["tasks"], manager["idle_duration"]) == (1, 0.0)
        (tmp_path / "go").touch()
        future.result(30)
        before = time.monotonic()
        (manager,) = pool._backend.connected_managers()
        assert manager["tasks"] == 0 and manager["idle_duration"] <= 1 + time.monotonic() - before


def test_a_manager_that_is_held_finishes_what_it_has_and_gets_no_more(tmp_path: Path) -> None:
    ledger = tmp_path / "ledger"
    with two_blocks() as (pool, executor):
        futures = [pool.submit(until, tmp_path / "go", task, ledger) for task in range(2)]
        eventually(lambda: len(noted(ledger)) == 2)
        held = manager_of(executor, "0")
        executor.hold_worker(held["manager"])
        (tmp_path / "go").touch()
        assert sorted(future.result(60) for future in futures) == ["0", "1"]
        assert {future.result(60) for future in [pool.submit(quickly, ledger, 9) for _ in range(50)]} == {"1"}
        after = manager_of(executor, "0")
        assert (after["active"], after["tasks"], after["pid"]) == (False, 0, held["pid"])
        assert manager_of(executor, "1")["active"]


def test_when_all_are_held_tasks_wait(arrangement: Arrangement) -> None:
    with arrangement.pool(1) as pool:
        (manager,) = pool._backend.connected_managers()
        pool._backend.hold_worker(manager["manager"])
        future = pool.submit(abs, -1)
        try:
            eventually(lambda: pool._backend.link.ask().waiting == 1)
            assert pool._backend.connected_managers()[0]["tasks"] == 0 and not future.done()
        finally:
            assert future.cancel()


def test_a_name_that_nobody_has_is_refused(arrangement: Arrangement) -> None:
    with arrangement.pool(1) as pool:
        with pytest.raises(ConfigurationError, match="there is no manager 'n7'; there are: "):
            pool._backend.hold_worker("n7")


def test_a_manager_that_is_held_stays_so_when_the_interchange_is_another_one(tmp_path: Path) -> None:
    with two_blocks() as (pool, executor):
        executor.hold_worker(manager_of(executor, "0")["manager"])
        assert not manager_of(executor, "0")["active"]
        psutil.Process(pool._backend.link._process.pid).kill()
        assert pool.submit(abs, -1).result(60) == 1
        eventually(lambda: not manager_of(executor, "0")["active"], within=30)
        assert {future.result(60) for future in [pool.submit(quickly, tmp_path / "l", 9) for _ in range(20)]} == {"1"}


def test_a_drained_manager_finishes_what_runs_gives_back_the_rest_and_ends(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "parsl_pool")
    ledger, go = tmp_path / "ledger", tmp_path / "go"
    with two_blocks() as (pool, executor):
        assert len(list(pool.map(abs, range(100)))) == 100  # from now on these are known to be short
        slow = [pool.submit(until, go, task, ledger) for task in range(2)]
        eventually(lambda: len(noted(ledger)) == 2)
        others = [pool.submit(quickly, ledger, task) for task in range(2, 40)]
        old = manager_of(executor, "0")
        process = psutil.Process(old["pid"])
        assert executor.managers.drain_block("0", "scaled in") == [old["manager"]]
        eventually(lambda: manager_of(executor, "0")["draining"], within=30)
        assert not manager_of(executor, "0")["active"] and not process.status() == psutil.STATUS_ZOMBIE
        # It says that it drains, and then gives back what it has not begun.
        assert eventually(lambda: manager_of(executor, "0")["tasks"] == 1, within=30), "what runs"
        go.touch()
        assert sorted(future.result(60) for future in slow) == ["0", "1"]
        assert "0" not in {future.result(60) for future in others}
        eventually(lambda: is_over(process), within=30)
        eventually(lambda: "0" not in executor.connected_blocks(), within=30)
        assert noted(ledger) == {task: 1 for task in range(40)}
        assert pool.status().workers_lost == 0
        assert pool.submit(abs, -3).result(30) == 3
    (line,) = [record for record in caplog.records if f"{old['manager']} on" in record.getMessage()]
    assert line.levelno == logging.INFO and "is gone: it was drained: scaled in" in line.getMessage()


def test_an_idle_manager_that_is_drained_ends_at_once_with_exit_code_0() -> None:
    with two_blocks() as (pool, executor):
        executor.managers.drain_block("1", "scaled in")
        eventually(lambda: "1" not in executor.connected_blocks(), within=30)
        keeper = pool._backend.link.keeper
        assert pool.submit(abs, -3).result(30) == 3
        eventually(lambda: len(keeper.table.blocks) == 3, within=30)  # as many as there are to be
        assert not keeper._jobs.streak.count


def test_a_large_argument_that_is_given_back_arrives_elsewhere(tmp_path: Path) -> None:
    """It was memory that the manager had opened."""
    ledger, go = tmp_path / "ledger", tmp_path / "go"
    with two_blocks() as (pool, executor):
        slow = [pool.submit(until, go, task, ledger) for task in range(2)]
        eventually(lambda: len(noted(ledger)) == 2)
        link = pool._backend.link
        for up in executor.workers.managers.values():  # as if they had asked for more than they can run at once
            assert up.shares
        large = [pool.submit(len, bytes(200_000 + size)) for size in range(6)]
        executor.managers.drain_block("0", "scaled in")
        go.touch()
        assert [future.result(60) for future in large] == [200_000 + size for size in range(6)]
        wait(slow, 30)
        assert link.ask().dropped_frames == 0


def test_a_block_that_comes_when_it_has_been_drained_ends_too() -> None:
    with two_blocks() as (pool, executor):
        executor.managers.drain_block("2", "not needed after all")
        executor.managers.drain_block("0", "scaled in")
        keeper = pool._backend.link.keeper
        eventually(lambda: "3" in keeper.table.blocks, within=60)
        assert pool.submit(abs, -3).result(30) == 3
        eventually(lambda: sorted(executor.connected_blocks()) == ["1", "3"], within=60)


def test_the_manager_inside_cannot_be_drained() -> None:
    with ParslPoolExecutor(1, manager_inside=True) as pool:
        assert pool.submit(abs, -1).result(30) == 1
        pool._backend.link.send(wire.Drain("inside", "somebody says so"))
        assert pool.submit(abs, -2).result(30) == 2
        assert pool._backend.connected_managers()[0]["active"]
