"""How many workers a node has and what belongs to each, as a HighThroughputExecutor is told."""

import os
import signal
from pathlib import Path
from typing import Any

import pytest

from parsl_pool import Config, HighThroughputExecutor, ParslPoolExecutor, portable
from parsl_pool.errors import ConfigurationError, PoolBroken
from parsl_pool.executors.high_throughput.arrangement import available_cores
from parsl_pool.interchange.node_facts import look
from parsl_pool.providers import LocalProvider, SlurmProvider
from tests.eventually import eventually

pytestmark = pytest.mark.timeout(90)


def workers(**options: Any) -> int:
    return HighThroughputExecutor(**options).max_workers_per_node


def test_without_a_word_there_is_a_worker_for_each_core() -> None:
    assert workers() == look(os.environ).usable <= available_cores()


def test_a_number_alone_holds_whatever_the_machine_has() -> None:
    assert workers(max_workers_per_node=50) == 50


@pytest.mark.parametrize("inside", [True, False])
def test_the_least_of_all_that_was_said(inside: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PARSL_CORES", "12")
    monkeypatch.setenv("PARSL_MEMORY_GB", "24")
    provider = None if inside else SlurmProvider(cores_per_node=12, mem_per_node=24)
    assert workers(provider=provider) == 12
    assert workers(provider=provider, cores_per_worker=5) == 2
    assert workers(provider=provider, cores_per_worker=0.5) == 24
    assert workers(provider=provider, cores_per_worker=0.1) == 120
    assert workers(provider=provider, mem_per_worker=2.5) == 9
    assert workers(provider=provider, available_accelerators=4) == 4
    assert workers(provider=provider, available_accelerators=["a", "b"], mem_per_worker=20) == 1
    assert workers(provider=provider, max_workers_per_node=3, cores_per_worker=1e-6) == 3
    assert workers(provider=provider, max_workers_per_node=3, cores_per_worker=6) == 2


@pytest.mark.parametrize(
    "options, reason",
    [
        ({"cores_per_worker": 13}, "each is to have 13 cores, and it has 12"),
        ({"mem_per_worker": 25, "max_workers_per_node": 2}, "each is to have 25 GB of memory, and it has 24"),
    ],
)
@pytest.mark.parametrize("inside", [True, False])
def test_no_room_for_a_single_worker_is_an_error_at_once_where_the_node_is_known(
    inside: bool, options: dict[str, Any], reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PARSL_CORES", "12")
    monkeypatch.setenv("PARSL_MEMORY_GB", "24")
    provider = None if inside else SlurmProvider(cores_per_node=12, mem_per_node=24)
    with pytest.raises(ConfigurationError, match=f"no worker can run on .*: {reason}"):
        HighThroughputExecutor(provider=provider, **options)


def test_of_nodes_that_nobody_knows_one_worker_is_expected() -> None:
    assert workers(provider=SlurmProvider(), cores_per_worker=60_000) == 1
    assert workers(provider=SlurmProvider(), mem_per_worker=1e9, max_workers_per_node=4) == 4


def test_more_parts_than_workers_are_an_error() -> None:
    with pytest.raises(ConfigurationError, match="is for 3 workers, and max_workers_per_node=2 allows fewer"):
        HighThroughputExecutor(max_workers_per_node=2, cpu_affinity="list:0:1:2")


@pytest.mark.skipif(not portable.has(os, "sched_getaffinity"), reason="this system binds no process to cores")
def test_cores_that_are_not_there_are_an_error_at_once_on_this_machine() -> None:
    with pytest.raises(ConfigurationError, match="no worker can run on this machine: .* names cores that this process"):
        HighThroughputExecutor(cpu_affinity="list:65000")


def test_what_a_node_can_not_give_reaches_the_client_with_its_reason(tmp_path: Path) -> None:
    """The manager finds out: here only it is told how little it may use."""
    provider = LocalProvider(worker_init="export PARSL_CORES=2")
    executor = HighThroughputExecutor(provider=provider, max_workers_per_node=4, cores_per_worker=3)
    with ParslPoolExecutor(Config([executor], run_dir=str(tmp_path))) as pool:
        with pytest.raises(PoolBroken, match=r"node .*block 0.*: each is to have 3 cores, and it has 2"):
            pool.submit(abs, -1).result(60)
    outputs = [path.read_text() for path in (tmp_path / "000" / "blocks").iterdir()]
    assert any("this node can't be used" in text for text in outputs), "also in the job's own output"


def count() -> str:
    return os.environ["PARSL_WORKER_COUNT"]


def test_each_manager_decides_for_itself() -> None:
    """Two nodes: one is told that it has three cores, the other that it has one."""
    choose = "case $JOBNAME in *.0) export PARSL_CORES=3;; *) export PARSL_CORES=1;; esac"
    provider = LocalProvider(init_blocks=2, max_blocks=2, worker_init=choose)
    executor = HighThroughputExecutor(provider=provider)
    with ParslPoolExecutor(Config([executor], run_dir=None)) as pool:
        seen: set[str] = set()

        def are_both_seen() -> bool:
            seen.update([future.result(30) for future in [pool.submit(count) for _ in range(8)]])
            return len(seen) == 2

        eventually(are_both_seen, within=40)
        assert seen == {"1", "3"}
        assert "4 workers" in executor.describe()


def test_a_node_that_is_not_fit_is_left_out_if_others_were(caplog: pytest.LogCaptureFixture) -> None:
    """The second block is to take the place of the first one."""
    choose = "case $JOBNAME in *.1) export PARSL_CORES=rubbish;; esac"
    provider = LocalProvider(worker_init=choose)
    executor = HighThroughputExecutor(provider=provider)
    with ParslPoolExecutor(Config([executor], run_dir=None)) as pool:
        assert pool.submit(abs, -1).result(40) == 1
        (manager,) = executor.workers.managers.values()
        os.kill(manager.pid, signal.SIGKILL)
        assert pool.submit(abs, -2).result(60) == 2, "the third one does the work"
    assert "(block 1): PARSL_CORES='rubbish' in its environment is not a number greater than 0; it is not used" in (
        caplog.text
    )
