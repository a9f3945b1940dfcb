"""Pools whose blocks are jobs of a real Slurm: no task is lost, whatever becomes of the blocks."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from parsl_pool.cli.main import main
from parsl_pool.errors import ParslPoolError
from parsl_pool.providers import SlurmProvider, SrunLauncher
from tests.eventually import eventually
from tests.services.clusters import SlurmCluster
from tests.services.pools import OF_POOLS, TASKS, Load, pool_on, where
from tests.services.slurm import NODES

pytestmark = [pytest.mark.service, pytest.mark.slow, pytest.mark.timeout(240)]

NewPool = Callable[..., Any]


@pytest.fixture
def new_pool(slurm: SlurmCluster, tmp_path: Path) -> Iterator[NewPool]:
    """Makes pools, by default of two blocks of two nodes. What a failed test leaves of them is ended."""
    made = []

    def new(workers: int = 2, **options: Any) -> Any:
        defaults = {"nodes_per_block": 2, "init_blocks": 2, "max_blocks": 2, "launcher": SrunLauncher()}
        more = {name: options.pop(name) for name in OF_POOLS & set(options)}
        provider = SlurmProvider(**{**defaults, **options})
        made.append(pool_on(provider, tmp_path / "runs", workers=workers, **more))
        return made[-1]

    yield new
    for pool in made:
        pool.kill_workers()


@pytest.fixture
def load(tmp_path: Path) -> Callable[[Any], Load]:
    return lambda pool: Load(pool, tmp_path / "begun")


def test_two_blocks_of_two_nodes(new_pool: NewPool, slurm: SlurmCluster, load: Callable[[Any], Load]) -> None:
    pool = new_pool()
    load(pool).runs_on(set(NODES))
    assert len(slurm.jobs()) == 2
    results = list(pool.map(where, range(2000), [0.002] * 2000))
    assert [number for number, _ in results] == list(range(2000))
    assert {host for _, host in results} == set(NODES)
    pool.shutdown()
    assert not slurm.left(20)


def test_a_block_is_cancelled_by_somebody_else(
    new_pool: NewPool, slurm: SlurmCluster, load: Callable[[Any], Load]
) -> None:
    pool = new_pool()
    tasks = load(pool)
    tasks.runs_on(set(NODES))
    tasks.add(TASKS)
    first = set(slurm.jobs())
    slurm.run("scancel", min(first))
    tasks.goes_on_until(lambda: len(set(slurm.jobs()) - first) == 1)  # another block has taken its place
    assert tasks.is_done()


def test_a_node_is_lost(new_pool: NewPool, slurm: SlurmCluster, load: Callable[[Any], Load]) -> None:
    """All that runs on it ends at once; nobody says goodbye."""
    pool = new_pool(heartbeat_period=1, heartbeat_threshold=6)
    tasks = load(pool)
    tasks.runs_on(set(NODES))
    tasks.add(TASKS)
    slurm.crash(slurm.nodes_of(min(slurm.jobs()))[-1])
    assert tasks.is_done()


def test_only_slurmd_is_lost(new_pool: NewPool, slurm: SlurmCluster, load: Callable[[Any], Load]) -> None:
    """Slurm takes the node for lost, and the job for failed; its processes go on meanwhile."""
    pool = new_pool()
    tasks = load(pool)
    tasks.runs_on(set(NODES))
    job = min(slurm.jobs())
    slurm.end_slurmd(slurm.nodes_of(job)[-1])
    assert eventually(lambda: slurm.states().get(job) != "RUNNING", 60)
    tasks.add(TASKS)
    assert tasks.is_done()


def test_a_block_comes_to_its_walltime(new_pool: NewPool, slurm: SlurmCluster, load: Callable[[Any], Load]) -> None:
    pool = new_pool()
    tasks = load(pool)
    tasks.runs_on(set(NODES))
    job = min(slurm.jobs())
    slurm.end_soon(job)
    tasks.goes_on_until(lambda: slurm.states()[job] != "RUNNING")  # Slurm looks twice a minute
    assert tasks.is_done()
    assert eventually(lambda: slurm.states()[job] in ("TIMEOUT", "CANCELLED"), 20), "it may be cancelled as it ends"


def test_a_closed_partition_is_explained(new_pool: NewPool, slurm: SlurmCluster) -> None:
    pool = new_pool(partition="closed", init_blocks=1, max_blocks=1)
    future = pool.submit(where, 1)
    assert eventually(lambda: "PartitionDown" in pool.explain(), 30), pool.explain()
    assert future.cancel()
    assert len(slurm.jobs()) == 1
    pool.shutdown()
    assert not slurm.left(20)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"partition": "gone"}, ["Required partition not available", "sbatch", "the script: "]),
        ({"partition": "nosuch"}, ["invalid partition specified: nosuch", "sbatch", "the script: "]),
        (
            {"worker_init": "echo no such module >&2; exit 1"},
            ["exit code 1", "FAILED", "no such module", "manager_program"],
        ),
        ({"launcher": SrunLauncher(overrides="--nosuch")}, ["unrecognized option '--nosuch'", "FAILED"]),
    ],
    ids=["closed", "unknown", "worker_init", "srun"],
)
def test_blocks_that_never_come_break_the_pool_and_say_why(
    new_pool: NewPool, slurm: SlurmCluster, options: dict[str, Any], words: list[str]
) -> None:
    pool = new_pool(init_blocks=1, max_blocks=1, **options)
    error = pool.submit(where, 1).exception(60)
    assert isinstance(error, ParslPoolError)
    for word in words:
        assert word in str(error)
    pool.shutdown()
    assert not slurm.left(20)


def test_blocks_come_and_go_with_the_load(new_pool: NewPool, slurm: SlurmCluster, load: Callable[[Any], Load]) -> None:
    """From none to four, one on each node, and to none again."""
    pool = new_pool(
        nodes_per_block=1, init_blocks=0, max_blocks=4, strategy="htex_auto_scale", max_idletime=1.0,
        strategy_period=0.5,
    )  # fmt: skip
    assert not slurm.jobs()
    tasks = load(pool)
    tasks.runs_on(set(NODES))
    assert len(slurm.jobs()) == 4
    assert tasks.is_done()
    assert not slurm.left(30), "nobody needs them"
    tasks.add(TASKS)
    assert tasks.is_done() and len(slurm.jobs()) <= 4
    pool.shutdown()
    assert not slurm.left(20)


CLIENT = """
import sys, time
from parsl_pool.providers import SlurmProvider, SrunLauncher
from tests.services.pools import note, pool_on
if __name__ == "__main__":
    provider = SlurmProvider(nodes_per_block=2, init_blocks=2, max_blocks=2, launcher=SrunLauncher())
    pool = pool_on(provider, sys.argv[1])
    futures = [pool.submit(note, number, sys.argv[2], 1000) for number in range(8)]
    time.sleep(1000)
"""


@contextmanager
def client_of(place: Path, program: str) -> Iterator[None]:
    """It runs meanwhile, and is killed then."""
    root = Path(__file__).parents[3]
    (place / "begun").mkdir()
    command = [sys.executable, "-c", program, str(place / "runs"), str(place / "begun")]
    with subprocess.Popen(command, cwd=root, env={**os.environ, "PYTHONPATH": str(root)}) as client:
        try:
            yield
        finally:
            client.kill()


def test_nothing_is_left_of_a_client_that_was_killed(slurm: SlurmCluster, tmp_path: Path) -> None:
    """Its managers notice, and end; with them their jobs do."""
    with client_of(tmp_path, CLIENT):
        assert eventually(lambda: len(list((tmp_path / "begun").iterdir())) == 8, 60)
        assert list(slurm.jobs().values()) == ["RUNNING"] * 2
    assert not slurm.left(60)


def test_jobs_that_wait_when_the_client_is_killed_are_cancelled_by_hand(slurm: SlurmCluster, tmp_path: Path) -> None:
    """Nobody of theirs runs who could notice."""
    with client_of(tmp_path, CLIENT.replace("SlurmProvider(", "SlurmProvider(partition='closed', ")):
        assert eventually(lambda: len(slurm.jobs()) == 2, 60)
    (run,) = (path for path in (tmp_path / "runs").iterdir() if path.name.isdigit())
    assert len(slurm.jobs()) == 2
    assert eventually(lambda: main(["blocks", "cancel", str(run)]) == 0, 30), "once its interchange has ended, too"
    assert not slurm.left(20)
