"""Pools whose blocks are jobs of a real Slurm: no task is lost, whatever becomes of the blocks.

Here Slurm keeps no accounts; test_blocks_with_accounting.py has some of these again with them.
"""

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from parsl_pool.cli.main import main
from parsl_pool.providers import SrunLauncher
from tests.eventually import eventually
from tests.services.clusters import SlurmCluster
from tests.services.pools import TASKS, Load, NewPool, breaks_and_says, client_of, where
from tests.services.slurm import NODES

pytestmark = [pytest.mark.service, pytest.mark.slow, pytest.mark.timeout(240)]

ALONE = {"init_blocks": 1, "max_blocks": 1}
NewLoad = Callable[[Any], Load]


def test_two_blocks_of_two_nodes(new_pool: NewPool, cluster: SlurmCluster, load: NewLoad) -> None:
    pool = new_pool()
    load(pool).runs_on(set(NODES))
    assert len(cluster.jobs()) == 2
    results = list(pool.map(where, range(2000), [0.002] * 2000))
    assert [number for number, _ in results] == list(range(2000))
    assert {host for _, host in results} == set(NODES)
    pool.shutdown()
    assert not cluster.left(20)


def test_a_block_is_cancelled_by_somebody_else(new_pool: NewPool, cluster: SlurmCluster, load: NewLoad) -> None:
    pool = new_pool()
    tasks = load(pool)
    tasks.runs_on(set(NODES))
    tasks.add(TASKS)
    first = set(cluster.jobs())
    cluster.run("scancel", min(first))
    tasks.goes_on_until(lambda: len(set(cluster.jobs()) - first) == 1)  # another block has taken its place
    assert tasks.is_done()


def test_a_node_is_lost(new_pool: NewPool, cluster: SlurmCluster, load: NewLoad) -> None:
    """All that runs on it ends at once; nobody says goodbye."""
    pool = new_pool(heartbeat_period=1, heartbeat_threshold=6)
    tasks = load(pool)
    tasks.runs_on(set(NODES))
    tasks.add(TASKS)
    cluster.crash(cluster.nodes_of(min(cluster.jobs()))[-1])
    assert tasks.is_done()


def dies_on(bad: str) -> str:
    """Its worker does, on that node."""
    _, host = where(0, 0.05)
    if host == bad:
        os.kill(os.getpid(), signal.SIGKILL)
    return host


def test_a_node_on_which_workers_die_is_left_out(new_pool: NewPool, cluster: SlurmCluster, load: NewLoad) -> None:
    """Its block is drained, and the next one is somewhere else."""
    pool = new_pool(nodes_per_block=1, init_blocks=2, max_blocks=2)
    tasks = load(pool)
    tasks.goes_on_until(lambda: len(tasks.hosts()) == 2)
    bad = min(tasks.hosts())

    def has_been_named() -> bool:
        futures = [pool.submit(dies_on, bad) for _ in range(10)]
        failed = [future for future in futures if future.exception(60)]
        return f"node {bad} has lost the workers of" in pool.explain() and len(failed) < len(futures)

    assert eventually(has_been_named, 60), pool.explain()
    first = set(cluster.jobs())
    tasks.goes_on_until(lambda: bad not in {node for job in cluster.jobs() for node in cluster.nodes_of(job)})
    tasks.goes_on_until(lambda: len(set(cluster.jobs()) - first) == 1)
    assert tasks.is_done()
    assert bad not in {host for _, host in pool.map(where, range(100), [0.01] * 100)}


def test_only_slurmd_is_lost(new_pool: NewPool, cluster: SlurmCluster, load: NewLoad) -> None:
    """Slurm takes the node for lost, and the job for failed; its processes go on meanwhile."""
    pool = new_pool()
    tasks = load(pool)
    tasks.runs_on(set(NODES))
    job = min(cluster.jobs())
    cluster.end_slurmd(cluster.nodes_of(job)[-1])
    assert eventually(lambda: cluster.states().get(job) != "RUNNING", 60)
    tasks.add(TASKS)
    assert tasks.is_done()


def test_a_block_comes_to_its_walltime(new_pool: NewPool, cluster: SlurmCluster, load: NewLoad) -> None:
    pool = new_pool()
    tasks = load(pool)
    tasks.runs_on(set(NODES))
    job = min(cluster.jobs())
    cluster.end_soon(job)
    tasks.goes_on_until(lambda: cluster.states()[job] != "RUNNING")  # Slurm looks twice a minute
    assert tasks.is_done()
    assert eventually(lambda: cluster.states()[job] in ("TIMEOUT", "CANCELLED"), 20), "it may be cancelled as it ends"


def test_no_task_is_lost_to_a_walltime_that_is_known(new_pool: NewPool, cluster: SlurmCluster, load: NewLoad) -> None:
    """Its managers end before it does, when they have finished what they have begun: nothing has to run again."""
    pool = new_pool(
        nodes_per_block=1, walltime="00:01:00", drain_period=5, retries=0, lost_retries=0, **ALONE
    )  # fmt: skip
    tasks = load(pool)
    tasks.add(TASKS // 4)
    assert eventually(lambda: list(cluster.jobs().values()) == ["RUNNING"], 30)
    (first,) = cluster.jobs()
    tasks.goes_on_until(lambda: set(cluster.jobs()) - {first})
    assert cluster.states()[first] in ("COMPLETED", "CANCELLED"), "it may be cancelled as it ends"
    assert tasks.is_done()
    assert len(list(tasks.place.iterdir())) == len(tasks.futures), "each has run once"


def test_a_closed_partition_is_explained(new_pool: NewPool, cluster: SlurmCluster) -> None:
    pool = new_pool(partition="closed", **ALONE)
    future = pool.submit(where, 1)
    assert eventually(lambda: "PartitionDown" in pool.explain(), 30), pool.explain()
    assert future.cancel()
    assert len(cluster.jobs()) == 1
    pool.shutdown()
    assert not cluster.left(20)


def test_an_account_that_the_partition_does_not_take_is_explained(new_pool: NewPool, cluster: SlurmCluster) -> None:
    """Without accounting Slurm accepts such a job, and never starts it."""
    pool = new_pool(partition="members", account="physics", **ALONE)
    future = pool.submit(where, 1)
    assert eventually(lambda: "account not known" in pool.explain(), 30), pool.explain()
    assert future.cancel()
    pool.shutdown()
    assert not cluster.left(20)


NEVER = {
    "closed": ({"partition": "gone"}, ["Required partition not available", "sbatch", "the script: "]),
    "unknown": ({"partition": "nosuch"}, ["invalid partition specified: nosuch", "sbatch", "the script: "]),
    "worker_init": (
        {"worker_init": "echo no such module >&2; exit 1"},
        ["exit code 1", "FAILED", "no such module", "manager_program"],
    ),
    "srun": ({"launcher": SrunLauncher(overrides="--nosuch")}, ["unrecognized option '--nosuch'", "FAILED"]),
    "hangs": (
        {"worker_init": "echo waiting for a licence >&2; sleep 1000", "block_start_timeout": 2},
        ["waiting for a licence", "has not registered within 2 s", "manager_program"],
    ),
}


@pytest.mark.parametrize("options, words", NEVER.values(), ids=NEVER)
def test_blocks_that_never_come_break_the_pool_and_say_why(
    new_pool: NewPool, cluster: SlurmCluster, options: dict[str, Any], words: list[str]
) -> None:
    breaks_and_says(new_pool(**ALONE, **options), cluster, words)


def test_blocks_come_and_go_with_the_load(new_pool: NewPool, cluster: SlurmCluster, load: NewLoad) -> None:
    """From none to four, one on each node, and to none again."""
    pool = new_pool(
        nodes_per_block=1, init_blocks=0, max_blocks=4, strategy="htex_auto_scale", max_idletime=1.0,
        strategy_period=0.5,
    )  # fmt: skip
    assert not cluster.jobs()
    tasks = load(pool)
    tasks.runs_on(set(NODES))
    assert len(cluster.jobs()) == 4
    assert tasks.is_done()
    assert not cluster.left(30), "nobody needs them"
    tasks.add(TASKS)
    assert tasks.is_done() and len(cluster.jobs()) <= 4
    pool.shutdown()
    assert not cluster.left(20)


CLIENT_S = "SlurmProvider(nodes_per_block=2, init_blocks=2, max_blocks=2, launcher=providers.SrunLauncher(){more})"


def test_nothing_is_left_of_a_client_that_was_killed(cluster: SlurmCluster, tmp_path: Path) -> None:
    """Its managers notice, and end; with them their jobs do."""
    with client_of(tmp_path, CLIENT_S.format(more=""), tasks=8):
        assert eventually(lambda: len(list((tmp_path / "begun").iterdir())) == 8, 60)
        assert list(cluster.jobs().values()) == ["RUNNING"] * 2
    assert not cluster.left(60)


def test_jobs_that_wait_when_the_client_is_killed_are_cancelled_by_hand(cluster: SlurmCluster, tmp_path: Path) -> None:
    """Nobody of theirs runs who could notice."""
    with client_of(tmp_path, CLIENT_S.format(more=", partition='closed'"), tasks=8):
        assert eventually(lambda: len(cluster.jobs()) == 2, 60)
    (run,) = (path for path in (tmp_path / "runs").iterdir() if path.name.isdigit())
    assert len(cluster.jobs()) == 2
    assert eventually(lambda: main(["blocks", "cancel", str(run)]) == 0, 30), "once its interchange has ended, too"
    assert not cluster.left(20)
