"""Pools whose blocks are jobs of a real Grid Engine: no task is lost, whatever becomes of the blocks."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from parsl_pool.errors import ParslPoolError
from parsl_pool.providers import GridEngineProvider
from tests.eventually import eventually
from tests.services.clusters import GridEngineCluster
from tests.services.grid_engine import NODE
from tests.services.pools import OF_POOLS, TASKS, Load, pool_on, where

pytestmark = [pytest.mark.service, pytest.mark.slow, pytest.mark.timeout(240)]

NewPool = Callable[..., Any]

# Grid Engine ends a job by SIGKILL: nobody says goodbye, and it is silence that tells.
QUICK = {"heartbeat_period": 1, "heartbeat_threshold": 6}


@pytest.fixture
def new_pool(grid_engine: GridEngineCluster, tmp_path: Path) -> Iterator[NewPool]:
    """Makes pools, by default of two blocks. What a failed test leaves of them is ended."""
    made = []

    def new(**options: Any) -> Any:
        more = {name: options.pop(name) for name in OF_POOLS & set(options)}
        provider = GridEngineProvider(**{"init_blocks": 2, "max_blocks": 2, **options})
        made.append(pool_on(provider, tmp_path / "runs", **more))
        return made[-1]

    yield new
    for pool in made:
        pool.kill_workers()


@pytest.fixture
def load(tmp_path: Path) -> Callable[[Any], Load]:
    return lambda pool: Load(pool, tmp_path / "begun")


def runs(jobs: dict[str, str]) -> bool:
    return list(jobs.values()) == ["r", "r"]


def test_two_blocks_and_one_is_deleted_by_somebody_else(
    new_pool: NewPool, grid_engine: GridEngineCluster, load: Callable[[Any], Load]
) -> None:
    pool = new_pool(**QUICK)
    tasks = load(pool)
    tasks.runs_on({NODE})
    assert eventually(lambda: runs(grid_engine.jobs()), 30)
    assert {host for _, host in pool.map(where, range(500))} == {NODE}
    tasks.add(TASKS)
    first = set(grid_engine.jobs())
    grid_engine.run("qdel", min(first))
    tasks.goes_on_until(lambda: len(set(grid_engine.jobs()) - first) == 1)  # another block has taken its place
    assert tasks.is_done()
    pool.shutdown()
    assert not grid_engine.left(20)


def test_blocks_come_to_their_walltime(
    new_pool: NewPool, grid_engine: GridEngineCluster, load: Callable[[Any], Load]
) -> None:
    pool = new_pool(walltime="00:00:08", init_blocks=1, max_blocks=1, **QUICK)
    tasks = load(pool)
    tasks.runs_on({NODE})
    first = set(grid_engine.jobs())
    tasks.goes_on_until(lambda: set(grid_engine.jobs()) - first)
    assert tasks.is_done()


def test_the_node_is_lost_and_comes_back(
    new_pool: NewPool, grid_engine: GridEngineCluster, load: Callable[[Any], Load]
) -> None:
    """Until it is back, Grid Engine lists its jobs as running, and those that were deleted too."""
    pool = new_pool(**QUICK)
    tasks = load(pool)
    tasks.runs_on({NODE})
    tasks.add(TASKS)
    grid_engine.crash()
    assert eventually(lambda: not pool._processes, 30)
    grid_engine.mend()
    assert tasks.is_done()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"queue": "nosuch.q"}, ['unknown queue "nosuch.q"', "qsub", "the script: "]),
        ({"worker_init": "echo no such module >&2; exit 1"}, ["exit code 1", "no such module", "manager_program"]),
    ],
    ids=["queue", "worker_init"],
)
def test_blocks_that_never_come_break_the_pool_and_say_why(
    new_pool: NewPool, grid_engine: GridEngineCluster, options: dict[str, Any], words: list[str]
) -> None:
    pool = new_pool(init_blocks=1, max_blocks=1, **options)
    error = pool.submit(where, 1).exception(60)
    assert isinstance(error, ParslPoolError)
    for word in words:
        assert word in str(error)
    pool.shutdown()
    assert not grid_engine.left(20)


def test_a_disabled_queue_is_explained(new_pool: NewPool, grid_engine: GridEngineCluster) -> None:
    pool = new_pool(queue="closed.q", init_blocks=1, max_blocks=1)
    future = pool.submit(where, 1)
    assert eventually(lambda: "because it is disabled" in pool.explain(), 45), pool.explain()
    assert future.cancel()
    pool.shutdown()
    assert not grid_engine.left(20)


def test_blocks_come_and_go_with_the_load(
    new_pool: NewPool, grid_engine: GridEngineCluster, load: Callable[[Any], Load]
) -> None:
    """From none to four, and to none again."""
    pool = new_pool(
        init_blocks=0, max_blocks=4, strategy="htex_auto_scale", max_idletime=1.0, strategy_period=0.5,
    )  # fmt: skip
    assert not grid_engine.jobs()
    tasks = load(pool)
    tasks.goes_on_until(lambda: list(grid_engine.jobs().values()) == ["r"] * 4)
    assert tasks.is_done()
    assert not grid_engine.left(40), "nobody needs them"
    tasks.add(TASKS)
    assert tasks.is_done() and len(grid_engine.jobs()) <= 4
    pool.shutdown()
    assert not grid_engine.left(20)
