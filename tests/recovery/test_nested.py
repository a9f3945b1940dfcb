"""What holds a task that waits for calls of its own dies: those that have not begun never do, and nothing hangs."""

import os
import signal
from pathlib import Path
from typing import Any

import pytest

from parsl_pool import ParslPoolExecutor
from parsl_pool.errors import WorkerLost
from tests.eventually import eventually
from tests.nested import work
from tests.recovery.arrangement import Arrangement

pytestmark = [pytest.mark.kill, pytest.mark.timeout(90)]

CHILDREN = 16


class Family:
    """A task and its calls, by the notes that they leave."""

    def __init__(self, folder: Path) -> None:
        self._parent, self._notes, self._go = folder / "parent", folder / "notes", folder / "go"

    def start(self, pool: Any, timeout: float | None) -> Any:
        return pool.submit(
            work.starts_and_waits, pool, str(self._parent), str(self._notes),
            str(self._go), CHILDREN, timeout,
        )  # fmt: skip

    def parents(self) -> list[int]:
        return _numbers(self._parent)

    def begun(self) -> list[int]:
        return _numbers(self._notes)

    def go(self) -> None:
        self._go.touch()


def _numbers(path: Path) -> list[int]:
    return [int(line) for line in path.read_text().split()] if path.exists() else []


def nothing_is_left(pool: ParslPoolExecutor) -> bool:
    status = pool.status()
    return not status.waiting and not status.queued and not status.running


@pytest.mark.parametrize("timeout", [60.0, None], ids=["lends", "runs one itself"])
def test_the_worker_that_waits_is_killed(
    arrangement: Arrangement, tmp_path: Path, timeout: float | None
) -> None:
    family = Family(tmp_path)
    with arrangement.pool(2) as pool:
        future = family.start(pool, timeout)
        eventually(lambda: len(family.begun()) >= 2)
        os.kill(family.parents()[0], signal.SIGKILL)
        assert isinstance(future.exception(30), WorkerLost)
        family.go()
        eventually(lambda: nothing_is_left(pool), within=30)
        assert pool.submit(abs, -1).result(30) == 1
        assert len(family.begun()) < CHILDREN
        eventually(lambda: len(arrangement.parts(pool).workers) <= 2, within=30)


def test_the_next_try_makes_its_calls_anew(arrangement: Arrangement, tmp_path: Path) -> None:
    family = Family(tmp_path)
    with arrangement.pool(2, retries=1) as pool:
        future = family.start(pool, 60.0)
        eventually(lambda: len(family.begun()) >= 2)
        os.kill(family.parents()[0], signal.SIGKILL)
        eventually(lambda: future.attempts)
        family.go()
        assert len(future.result(60)) == CHILDREN
        assert CHILDREN + 2 <= len(family.begun()) < 2 * CHILDREN


def test_a_task_that_waits_can_be_killed(arrangement: Arrangement, tmp_path: Path) -> None:
    family = Family(tmp_path)
    with arrangement.pool(2) as pool:
        future = family.start(pool, 60.0)
        eventually(lambda: len(family.begun()) >= 2)
        assert future.kill()
        eventually(future.cancelled)
        family.go()
        eventually(lambda: nothing_is_left(pool), within=30)
        assert len(family.begun()) < CHILDREN


@pytest.mark.parametrize("part", ["interchange", "manager", "fork_server"])
def test_a_part_of_the_pool_is_lost_while_tasks_wait(arrangement: Arrangement, tmp_path: Path, part: str) -> None:
    family = Family(tmp_path)
    with arrangement.pool(2) as pool:
        future = family.start(pool, 60.0)
        more = pool.submit(work.fib, pool, 7)
        eventually(lambda: len(family.begun()) >= 2)
        getattr(arrangement.parts(pool), part).kill()
        family.go()
        assert len(future.result(60)) == CHILDREN
        assert more.result(60) == 13
        eventually(lambda: nothing_is_left(pool), within=30)


def test_a_pool_that_is_ended_ends_parents_and_children(arrangement: Arrangement, tmp_path: Path) -> None:
    family = Family(tmp_path)
    with arrangement.pool(2) as pool:
        future = family.start(pool, None)
        eventually(lambda: len(family.begun()) >= 2)
        pool.kill_workers()
        assert future.exception(30) is not None
        assert len(family.begun()) < CHILDREN
