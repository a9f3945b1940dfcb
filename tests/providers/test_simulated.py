"""Pools on made-up nodes: what the nodes do is simulated, the rest is real."""

import copy
import os
import pickle
import signal
from concurrent.futures import CancelledError
from pathlib import Path
from typing import Any

import psutil
import pytest

from parsl_pool import Config, HighThroughputExecutor, ParslPoolExecutor
from parsl_pool.errors import (
    AppTimeout,
    ConfigurationError,
    ManagerLost,
    PoolBroken,
    ScaleOutFailed,
    UnsupportedFeatureError,
)
from parsl_pool.providers import JobState, SimulatedProvider
from parsl_pool.simulation import last
from tests.eventually import eventually


def pool_on(provider: SimulatedProvider, **options: Any) -> ParslPoolExecutor:
    return ParslPoolExecutor(
        Config(
            [
                HighThroughputExecutor(
                    "made-up", provider=provider, max_workers_per_node=4, heartbeat_period=0.2,
                    heartbeat_threshold=1.5, **options,
                )
            ]
        )
    )  # fmt: skip


def clusters() -> list[psutil.Process]:
    return [child for child in psutil.Process().children() if "parsl_pool.simulation.cluster" in child.cmdline()]


def test_tasks_last_and_give_their_results() -> None:
    blocks = 25
    with pool_on(SimulatedProvider(nodes=blocks, init_blocks=blocks, max_blocks=blocks, speed=100)) as pool:
        futures = [pool.submit(last, 10.0, number) for number in range(8 * blocks)]
        assert [future.result() for future in futures] == list(range(8 * blocks))
        assert list(pool.map(last, [1.0] * 500, range(500), chunksize=20)) == list(range(500))
        assert pool.submit(last, 1.0, pool.submit(last, 1.0, 3)).result() == 3
        assert pool.submit(last, seconds=1, result=[1]).result() == [1]
        assert len(pool.status().managers) == blocks
        assert len(clusters()) == 1
    assert clusters() == []


def test_other_calls_are_refused_or_last_as_long_as_they_are_told() -> None:
    with pool_on(SimulatedProvider()) as pool:
        with pytest.raises(UnsupportedFeatureError, match=r"run <built-in function abs>, only .*simulation\.last"):
            pool.submit(abs, 1).result()
        with pytest.raises(TypeError, match="pause"):
            pool.submit(last, pause=1).result()
    with pool_on(SimulatedProvider(task_s=0.01)) as pool:
        assert pool.submit(abs, 1).result() is None
        assert list(pool.map(lambda x: x, range(50), chunksize=7)) == [None] * 50


def test_a_walltime_ends_a_task() -> None:
    with pool_on(SimulatedProvider(speed=1000)) as pool:
        with pytest.raises(AppTimeout):
            pool.options(walltime=2).submit(last, 1e6).result()
        assert pool.submit(last, 1.0, "on").result() == "on"


def test_a_running_task_is_killed() -> None:
    with pool_on(SimulatedProvider()) as pool:
        future = pool.submit(last, 1e6)
        eventually(lambda: [held for _, held, _ in pool.status().managers] == [1])
        assert future.kill()
        with pytest.raises(CancelledError):
            future.result()
        assert pool.submit(last, 0, 1).result() == 1


def test_tasks_go_on_in_the_next_block_when_one_reaches_its_walltime(tmp_path: Path) -> None:
    """Six tasks of 100 s, four at once, do not fit into 150 s."""
    provider = SimulatedProvider(walltime="00:02:30", speed=100)
    with pool_on(provider, lost_retries=9) as pool:
        futures = [pool.submit(last, 100.0, number) for number in range(6)]
        assert [future.result() for future in futures] == list(range(6))
        assert sorted(len(future.attempts) for future in futures) == [0, 0, 0, 0, 1, 1]  # those that failed


def test_without_tries_a_lost_block_is_told() -> None:
    provider = SimulatedProvider(walltime="00:01:00", speed=100)
    with pool_on(provider, lost_retries=0) as pool, pytest.raises(ManagerLost):
        pool.submit(last, 1e6).result()


@pytest.mark.parametrize("option", ["preemption_rate", "node_failure_rate"])
def test_nodes_that_are_taken_away(option: str) -> None:
    """On average one in four minutes of each; 40 tasks of a minute come through all the same."""
    rate: dict[str, Any] = {option: 15.0}
    provider = SimulatedProvider(nodes_per_block=2, init_blocks=5, min_blocks=5, max_blocks=5, speed=200, **rate)
    with pool_on(provider, lost_retries=100) as pool:
        futures = [pool.submit(last, 60.0, number) for number in range(40)]
        assert [future.result() for future in futures] == list(range(40))
        assert pool.status().retried > 0


def test_blocks_that_never_start_break_the_pool_with_their_words() -> None:
    with pool_on(SimulatedProvider(failure_rate=1)) as pool, pytest.raises(PoolBroken, match="its start has failed"):
        pool.submit(last, 0).result()


def submitted(provider: SimulatedProvider, tmp_path: Path) -> str:
    provider.script_dir = tmp_path
    return provider.submit(f"python -m parsl_pool.interchange.manager_program {tmp_path}/none 0", 1)


def test_the_states_of_a_job(tmp_path: Path) -> None:
    provider = SimulatedProvider(nodes=2, nodes_per_block=2, queue_wait=20, walltime=1, speed=20)
    first, second = submitted(provider, tmp_path), submitted(provider, tmp_path)
    assert [status.state for status in provider.status([first, second, "x"])] == [
        JobState.PENDING, JobState.PENDING, JobState.UNKNOWN,
    ]  # fmt: skip
    eventually(lambda: provider.status([first])[0].state is JobState.RUNNING)
    waiting = provider.status([second])[0]
    assert waiting.state is JobState.PENDING and "Resources: 2 nodes" in (waiting.message or "")
    eventually(lambda: provider.status([first])[0].state is JobState.TIMEOUT)
    assert provider.cancel([second, "x"]) == [True, False]
    assert provider.status([first, second])[1].state is JobState.CANCELLED
    assert clusters() == []


def test_a_cluster_that_is_killed_takes_its_jobs_with_it(tmp_path: Path) -> None:
    provider = SimulatedProvider()
    job = submitted(provider, tmp_path)
    (cluster,) = clusters()
    os.kill(cluster.pid, signal.SIGKILL)
    eventually(lambda: provider.status([job])[0].state is JobState.FAILED)
    assert "the made-up cluster has ended" in (provider.status([job])[0].message or "")
    other = submitted(provider, tmp_path)  # on a new one
    assert provider.cancel([other]) == [True]


def test_another_command_is_refused(tmp_path: Path) -> None:
    provider = SimulatedProvider()
    provider.script_dir = tmp_path
    with pytest.raises(ScaleOutFailed, match="can't run another command: sleep 1"):
        provider.submit("sleep 1", 1)


def test_wrong_times() -> None:
    with pytest.raises(ConfigurationError, match=r"queue_wait must be seconds, or \(least, most\), got \(2, 1\)"):
        SimulatedProvider(queue_wait=(2, 1))
    with pytest.raises(ConfigurationError, match="start_time"):
        SimulatedProvider(start_time=-1)
    with pytest.raises(ConfigurationError, match="failure_rate"):
        SimulatedProvider(failure_rate=1.1)


def test_a_copy_has_the_options_and_none_of_the_jobs(tmp_path: Path) -> None:
    provider = SimulatedProvider(nodes=3, queue_wait=(1, 2), seed=5)
    job = submitted(provider, tmp_path)
    for other in pickle.loads(pickle.dumps(provider)), copy.deepcopy(provider):
        assert repr(other) == repr(provider) and other.queue_wait == (1, 2)
        assert other.status([job])[0].state is JobState.UNKNOWN
    assert provider.cancel([job]) == [True]
