"""Managers that end before their time is over: `drain_period`."""

import os
import time
from pathlib import Path
from typing import Any

import pytest

from parsl_pool import Config, HighThroughputExecutor, ParslPoolExecutor
from parsl_pool.errors import ConfigurationError, WrongType
from parsl_pool.executors.high_throughput.draining import drain_seconds
from parsl_pool.providers import LocalProvider, SlurmProvider, WrappedLauncher
from tests.recovery.ledger import note, noted

HOUR = 3600


def slurm(walltime: str) -> SlurmProvider:
    return SlurmProvider("debug", walltime=walltime)


@pytest.mark.parametrize(
    "period, provider, seconds",
    [
        (None, slurm("01:00:00"), 0),
        ("auto", slurm("00:10:00"), 540),
        ("auto", slurm("24:00:00"), 24 * HOUR - 600),
        ("auto", LocalProvider(), 0),
        ("auto", None, 0),
        (30, slurm("00:10:00"), 30),
        (30.5, LocalProvider(), 30.5),
    ],
)
def test_when_a_manager_drains(period: Any, provider: Any, seconds: float) -> None:
    assert drain_seconds(period, provider) == pytest.approx(seconds)


def test_a_period_that_is_no_shorter_than_the_walltime_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="must be below the provider's walltime, which is 600 s"):
        HighThroughputExecutor(provider=slurm("00:10:00"), drain_period=600)


def test_what_is_no_period_is_told_what_would_be() -> None:
    with pytest.raises(ConfigurationError, match=r"drain_period must be greater than 0 .*or 'auto', or None, got 'no'"):
        HighThroughputExecutor(drain_period="no")
    with pytest.raises(WrongType, match="a number of seconds"):
        HighThroughputExecutor(drain_period=[5])  # type: ignore[arg-type]  # that is the point


def test_a_manager_that_is_to_drain_is_not_inside() -> None:
    assert HighThroughputExecutor(max_workers_per_node=1).manager_inside
    assert not HighThroughputExecutor(max_workers_per_node=1, drain_period=5).manager_inside
    with pytest.raises(ConfigurationError, match="with a drain_period managers end"):
        HighThroughputExecutor(max_workers_per_node=1, drain_period=5, manager_inside=True)


def noted_block(path: Path, task: int) -> str:
    note(path, task)
    time.sleep(0.06)
    return os.environ["PARSL_WORKER_BLOCK_ID"]


@pytest.mark.timeout(120)
def test_no_task_is_lost_to_a_limit_that_is_known_beforehand(tmp_path: Path) -> None:
    """The job is killed at its limit. Each manager has ended by then, another one goes on, and nothing runs twice."""
    job = LocalProvider(launcher=WrappedLauncher("timeout --signal=KILL 20"))
    executor = HighThroughputExecutor(max_workers_per_node=1, provider=job, drain_period=2)
    ledger = tmp_path / "ledger"
    with ParslPoolExecutor(Config([executor], retries=0, lost_retries=0, run_dir=str(tmp_path))) as pool:
        blocks = [future.result(60) for future in [pool.submit(noted_block, ledger, task) for task in range(50)]]
        assert pool.status().workers_lost == 0
    assert len(set(blocks)) > 1, "more than one had to do it"
    assert noted(ledger) == {task: 1 for task in range(50)}
    (log,) = tmp_path.glob("*/parsl_pool.log")
    ends = [line for line in log.read_text().splitlines() if "is gone" in line and "draining" not in line]
    assert sum("it was drained: it has run for 2 s, its drain_period" in line for line in ends) >= 1, ends
    assert not [line for line in ends if "WARNING" in line]
