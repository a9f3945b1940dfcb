"""Pools whose blocks are jobs of a real Slurm: no task is lost, whatever becomes of the blocks."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from parsl_pool.errors import ParslPoolError
from parsl_pool.providers import SlurmProvider, SrunLauncher
from tests.eventually import eventually
from tests.services.clusters import SlurmCluster
from tests.services.pools import note, pool_on, where
from tests.services.slurm import NODES

pytestmark = [pytest.mark.service, pytest.mark.slow, pytest.mark.timeout(240)]

TASKS = 200
TASK_S = 0.1


NewPool = Callable[..., Any]


@pytest.fixture
def new_pool(slurm: SlurmCluster, tmp_path: Path) -> Iterator[NewPool]:
    """Makes pools, by default of two blocks of two nodes. What a failed test leaves of them is ended."""
    made = []

    def new(workers: int = 2, **options: Any) -> Any:
        defaults = {"nodes_per_block": 2, "init_blocks": 2, "max_blocks": 2, "launcher": SrunLauncher()}
        names = ("retries", "lost_retries", "strategy", "heartbeat_period", "heartbeat_threshold")
        more = {name: options.pop(name) for name in names if name in options}
        provider = SlurmProvider(**{**defaults, **options})
        made.append(pool_on(provider, tmp_path / "runs", workers=workers, **more))
        return made[-1]

    yield new
    for pool in made:
        pool.kill_workers()


class Load:
    """Tasks, and what the files that they have written tell of them."""

    def __init__(self, pool: Any, place: Path) -> None:
        self.pool, self.place = pool, place
        place.mkdir()
        self.futures: list[Any] = []

    def add(self, count: int, seconds: float = TASK_S) -> None:
        first = len(self.futures)
        self.futures += [
            self.pool.submit(note, number, str(self.place), seconds) for number in range(first, first + count)
        ]

    def hosts(self) -> set[str]:
        return {file.read_text() for file in self.place.iterdir()} - {""}

    def runs_everywhere(self) -> None:
        """Wait until all nodes have begun tasks; there are more of them then."""
        self.add(TASKS // 4)
        assert eventually(lambda: self.hosts() == set(NODES) or self._more(), 60), self.pool.explain()

    def _more(self) -> bool:
        if all(future.done() for future in self.futures):
            self.add(TASKS // 4)
        return False

    def is_done(self, within: float = 120) -> bool:
        """Every task has its result."""
        return [future.result(within) for future in self.futures] == list(range(len(self.futures)))


@pytest.fixture
def load(tmp_path: Path) -> Callable[[Any], Load]:
    return lambda pool: Load(pool, tmp_path / "begun")


def test_two_blocks_of_two_nodes(new_pool: NewPool, slurm: SlurmCluster, load: Callable[[Any], Load]) -> None:
    pool = new_pool()
    load(pool).runs_everywhere()
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
    tasks.runs_everywhere()
    tasks.add(TASKS)
    first = set(slurm.jobs())
    slurm.run("scancel", min(first))
    assert tasks.is_done()
    assert eventually(lambda: len(set(slurm.jobs()) - first) == 1, 30), "another block has taken its place"


def test_a_node_is_lost(new_pool: NewPool, slurm: SlurmCluster, load: Callable[[Any], Load]) -> None:
    """All that runs on it ends at once; nobody says goodbye."""
    pool = new_pool(heartbeat_period=1, heartbeat_threshold=6)
    tasks = load(pool)
    tasks.runs_everywhere()
    tasks.add(TASKS)
    slurm.crash(slurm.nodes_of(min(slurm.jobs()))[-1])
    assert tasks.is_done()


def test_only_slurmd_is_lost(new_pool: NewPool, slurm: SlurmCluster, load: Callable[[Any], Load]) -> None:
    """Slurm takes the node for lost, and the job for failed; its processes go on meanwhile."""
    pool = new_pool()
    tasks = load(pool)
    tasks.runs_everywhere()
    job = min(slurm.jobs())
    slurm.end_slurmd(slurm.nodes_of(job)[-1])
    assert eventually(lambda: slurm.states().get(job) != "RUNNING", 60)
    tasks.add(TASKS)
    assert tasks.is_done()


def test_a_block_comes_to_its_walltime(new_pool: NewPool, slurm: SlurmCluster, load: Callable[[Any], Load]) -> None:
    pool = new_pool()
    tasks = load(pool)
    tasks.runs_everywhere()
    job = min(slurm.jobs())
    slurm.end_soon(job)
    while slurm.states()[job] == "RUNNING":  # Slurm looks twice a minute
        if sum(not future.done() for future in tasks.futures) < 20:
            tasks.add(20)
    tasks.add(20)
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
