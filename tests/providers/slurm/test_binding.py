"""A Slurm that binds jobs to cores (task/affinity): workers are on all that their job has, and on no others."""

import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from parsl_pool.providers import SimpleLauncher, SingleNodeLauncher, SlurmProvider, SrunLauncher, SrunMPILauncher
from tests.eventually import eventually
from tests.services.clusters import SlurmCluster
from tests.services.pools import NewPool, makes_pools

pytestmark = [pytest.mark.service, pytest.mark.slow, pytest.mark.timeout(240)]

CORES = frozenset(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else frozenset({0})
ALONE = {"nodes_per_block": 1, "init_blocks": 1, "max_blocks": 1}


@pytest.fixture
def cluster(slurm_that_binds: SlurmCluster) -> SlurmCluster:
    return slurm_that_binds


@pytest.fixture
def new_pool(cluster: SlurmCluster, tmp_path: Path) -> Iterator[NewPool]:
    yield from makes_pools(SlurmProvider, tmp_path / "runs", **ALONE)


def cores_here(seconds: float) -> tuple[str, int, int, frozenset[int]]:
    """The host, its workers, which of them this is, and the cores that it may use."""
    time.sleep(seconds)  # so that others get some, too
    rank, workers = (int(os.environ[f"PARSL_WORKER_{name}"]) for name in ("RANK", "COUNT"))
    return socket.gethostname(), workers, rank, frozenset(os.sched_getaffinity(0))


def cores_of_workers(pool: Any) -> dict[int, frozenset[int]]:
    """Of the block's one node, when all of its workers have been at work: the cores of each."""
    seen: dict[int, frozenset[int]] = {}

    def is_whole() -> bool:
        results = list(pool.map(cores_here, [0.05] * 8))
        seen.update({rank: cores for _, _, rank, cores in results})
        return {workers for _, workers, *_ in results} == {len(seen)}

    assert eventually(is_whole, 60), pool.explain()
    return seen


LAUNCHERS = [SimpleLauncher(), SingleNodeLauncher(), SrunLauncher(), SrunMPILauncher()]


@pytest.mark.parametrize("launcher", LAUNCHERS, ids=lambda launcher: type(launcher).__name__)
def test_a_node_of_one_s_own_has_a_worker_for_each_core(new_pool: NewPool, launcher: Any) -> None:
    """All of them on the first core would be one at a time."""
    with new_pool(None, launcher=launcher) as pool:
        assert cores_of_workers(pool) == {rank: CORES for rank in range(len(CORES))}


@pytest.mark.parametrize("launcher", LAUNCHERS[1:3], ids=lambda launcher: type(launcher).__name__)
def test_workers_that_are_bound_share_out_the_cores(new_pool: NewPool, launcher: Any) -> None:
    with new_pool(None, launcher=launcher, cpu_affinity="block") as pool:
        assert cores_of_workers(pool) == {rank: {core} for rank, core in enumerate(sorted(CORES))}


@pytest.mark.parametrize("affinity", ["none", "block"])
def test_jobs_that_share_a_node_are_each_on_their_own_cores(
    new_pool: NewPool, cluster: SlurmCluster, affinity: str
) -> None:
    """The second job's workers are not on the first core, though they count theirs from nought."""
    shared = {"exclusive": False, "cores_per_node": 1, "scheduler_options": "#SBATCH --nodelist=node2"}
    with new_pool(None, cpu_affinity=affinity, init_blocks=2, max_blocks=2, **shared) as pool:
        seen: set[frozenset[int]] = set()

        def both() -> bool:
            results = list(pool.map(cores_here, [0.05] * 8))
            assert {(host, workers, rank) for host, workers, rank, _ in results} == {("node2", 1, 0)}
            seen.update(cores for *_, cores in results)
            return len(seen) == 2

        assert eventually(both, 60), seen
        first, second = seen
        assert len(first) == len(second) == 1 and first != second and first | second <= CORES


def test_a_launcher_that_is_told_to_bind_has_the_cores_that_are_left(new_pool: NewPool) -> None:
    """Whoever has srun bind the manager to one core gets one worker, and not two that are in each other's way."""
    with new_pool(None, launcher=SrunLauncher(overrides="--cpu-bind=map_cpu:1")) as pool:
        ((rank, cores),) = cores_of_workers(pool).items()
        assert rank == 0 and len(cores) == 1 and cores < CORES
