"""Pools whose blocks are jobs of a real Grid Engine: no task is lost, whatever becomes of the blocks."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from parsl_pool.cli.main import main
from tests.eventually import eventually
from tests.services.clusters import GridEngineCluster
from tests.services.grid_engine import NODE
from tests.services.pools import TASKS, Load, NewPool, breaks_and_says, client_of, where

pytestmark = [pytest.mark.service, pytest.mark.slow, pytest.mark.timeout(240)]

NewLoad = Callable[[Any], Load]
ALONE = {"init_blocks": 1, "max_blocks": 1}

# Grid Engine ends a job by SIGKILL: nobody says goodbye, and it is silence that tells.
QUICK = {"heartbeat_period": 1, "heartbeat_threshold": 6}


def runs(jobs: dict[str, str]) -> bool:
    return list(jobs.values()) == ["r", "r"]


def test_two_blocks_and_one_is_deleted_by_somebody_else(
    new_pool: NewPool, grid_engine: GridEngineCluster, load: NewLoad
) -> None:
    pool = new_pool(**QUICK)
    tasks = load(pool)
    tasks.runs_on({NODE})
    assert eventually(lambda: runs(grid_engine.jobs()), 30)
    assert {host for _, host in pool.map(where, range(2000))} == {NODE}
    tasks.add(TASKS)
    first = set(grid_engine.jobs())
    grid_engine.run("qdel", min(first))
    tasks.goes_on_until(lambda: len(set(grid_engine.jobs()) - first) == 1)  # another block has taken its place
    assert tasks.is_done()
    pool.shutdown()
    assert not grid_engine.left(20)


def test_blocks_come_to_their_walltime(
    new_pool: NewPool, grid_engine: GridEngineCluster, load: NewLoad
) -> None:
    pool = new_pool(walltime="00:00:08", **ALONE, **QUICK)
    tasks = load(pool)
    tasks.runs_on({NODE})
    first = set(grid_engine.jobs())
    tasks.goes_on_until(lambda: set(grid_engine.jobs()) - first)
    assert tasks.is_done()


def test_the_node_is_lost_and_comes_back(
    new_pool: NewPool, grid_engine: GridEngineCluster, load: NewLoad
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


def test_the_node_s_daemon_is_killed_and_started_again(
    new_pool: NewPool, grid_engine: GridEngineCluster, load: NewLoad
) -> None:
    """The jobs go on meanwhile, and so does the pool: nothing is lost, and nothing runs twice."""
    pool = new_pool(retries=0, lost_retries=0)
    tasks = load(pool)
    tasks.runs_on({NODE})
    assert eventually(lambda: runs(grid_engine.jobs()), 30)
    first = grid_engine.jobs()
    tasks.add(TASKS)
    grid_engine.end_execd()
    before = len(list(tasks.place.iterdir()))
    tasks.goes_on_until(lambda: len(list(tasks.place.iterdir())) > before + TASKS // 2)
    grid_engine.start_execd()
    tasks.add(TASKS // 2)
    assert tasks.is_done()
    assert len(list(tasks.place.iterdir())) == len(tasks.futures), "each has run once"
    assert grid_engine.jobs() == first, "and no block has been replaced"
    pool.shutdown()
    assert not grid_engine.left(100), "such a daemon looks once a minute for the ends of jobs that it has not begun"


@pytest.fixture
def no_qacct(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A site on which all commands are there but this one."""
    place = tmp_path / "bin"
    place.mkdir()
    for directory in map(Path, os.environ["PATH"].split(os.pathsep)):
        for program in directory.iterdir() if directory.is_dir() else ():
            if program.name != "qacct" and not (place / program.name).is_symlink():
                (place / program.name).symlink_to(program)
    monkeypatch.setenv("PATH", str(place))


@pytest.mark.usefixtures("no_qacct")
def test_without_qacct_a_block_that_somebody_deletes_is_replaced(
    new_pool: NewPool, grid_engine: GridEngineCluster, load: NewLoad
) -> None:
    pool = new_pool(**QUICK)
    tasks = load(pool)
    tasks.runs_on({NODE})
    tasks.add(TASKS)
    assert eventually(lambda: runs(grid_engine.jobs()), 30)
    first = set(grid_engine.jobs())
    grid_engine.run("qdel", min(first))
    tasks.goes_on_until(lambda: len(set(grid_engine.jobs()) - first) == 1)
    assert tasks.is_done()
    pool.shutdown()
    assert not grid_engine.left(20)


@pytest.mark.usefixtures("no_qacct")
def test_without_qacct_a_block_that_fails_says_why(new_pool: NewPool, grid_engine: GridEngineCluster) -> None:
    """By the file that its script leaves."""
    options, words = NEVER["worker_init"]
    breaks_and_says(new_pool(**ALONE, **options), grid_engine, words)


NEVER: dict[str, tuple[dict[str, Any], list[str]]] = {
    "queue": ({"queue": "nosuch.q"}, ['unknown queue "nosuch.q"', "qsub", "the script: "]),
    "project": ({"scheduler_options": "#$ -P nosuch"}, ['project "nosuch" does not exist', "qsub", "the script: "]),
    "worker_init": (
        {"worker_init": "echo no such module >&2; exit 1"}, ["exit code 1", "no such module", "manager_program"],
    ),
    "hangs": (
        {"worker_init": "echo waiting for a licence >&2; sleep 1000", "block_start_timeout": 2},
        ["waiting for a licence", "has not registered within 2 s", "manager_program"],
    ),
}  # fmt: skip


@pytest.mark.parametrize("options, words", NEVER.values(), ids=NEVER)
def test_blocks_that_never_come_break_the_pool_and_say_why(
    new_pool: NewPool, grid_engine: GridEngineCluster, options: dict[str, Any], words: list[str]
) -> None:
    breaks_and_says(new_pool(**ALONE, **options), grid_engine, words)


def test_no_task_is_lost_to_a_walltime_that_is_known(
    new_pool: NewPool, grid_engine: GridEngineCluster, load: NewLoad
) -> None:
    """Its managers end before it does, when they have finished what they have begun: nothing has to run again."""
    pool = new_pool(walltime="00:05:00", drain_period=5, retries=0, lost_retries=0, **ALONE)
    tasks = load(pool)
    tasks.add(TASKS // 4)
    assert eventually(lambda: list(grid_engine.jobs().values()) == ["r"], 30)
    first = set(grid_engine.jobs())
    tasks.goes_on_until(lambda: set(grid_engine.jobs()) - first)
    assert tasks.is_done()
    assert len(list(tasks.place.iterdir())) == len(tasks.futures), "each has run once"


def test_a_disabled_queue_is_explained(new_pool: NewPool, grid_engine: GridEngineCluster) -> None:
    pool = new_pool(queue="closed.q", **ALONE)
    future = pool.submit(where, 1)
    assert eventually(lambda: "because it is disabled" in pool.explain(), 45), pool.explain()
    assert future.cancel()
    pool.shutdown()
    assert not grid_engine.left(20)


def test_blocks_come_and_go_with_the_load(
    new_pool: NewPool, grid_engine: GridEngineCluster, load: NewLoad
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


def test_nothing_is_left_of_a_client_that_was_killed(grid_engine: GridEngineCluster, tmp_path: Path) -> None:
    """Its managers notice, and end; with them their jobs do."""
    with client_of(tmp_path, "GridEngineProvider(init_blocks=2, max_blocks=2)", tasks=4):
        assert eventually(lambda: len(list((tmp_path / "begun").iterdir())) == 4, 60)
        assert eventually(lambda: runs(grid_engine.jobs()), 20), "tasks may begin before the scheduler is told"
    assert not grid_engine.left(60)


def test_jobs_that_wait_when_the_client_is_killed_are_cancelled_by_hand(
    grid_engine: GridEngineCluster, tmp_path: Path
) -> None:
    """Nobody of theirs runs who could notice."""
    with client_of(tmp_path, "GridEngineProvider(init_blocks=2, max_blocks=2, queue='closed.q')", tasks=4):
        assert eventually(lambda: len(grid_engine.jobs()) == 2, 60)
    (run,) = (path for path in (tmp_path / "runs").iterdir() if path.name.isdigit())
    assert len(grid_engine.jobs()) == 2
    assert eventually(lambda: main(["blocks", "cancel", str(run)]) == 0, 30), "once its interchange has ended, too"
    assert not grid_engine.left(20)
