"""What a task has saved outlives its worker, its manager and the interchange."""

import os
import signal
from pathlib import Path
from typing import Any

import pytest

from parsl_pool import task
from parsl_pool.errors import AppTimeout
from parsl_pool.interchange.serialize import LARGE
from tests.eventually import eventually
from tests.recovery.arrangement import Arrangement

SIZES = [10, LARGE]


def steps_that_die(deaths: int, size: int) -> tuple[int, int, int]:
    """Each try goes on where the last one stopped, and dies just after it has said so."""
    step, data = task.restored(default=(0, b""))
    task.save((step + 1, data + bytes(size)))
    task.progress(step / 10, f"step {step}")
    if task.try_number < deaths:
        os.kill(os.getpid(), signal.SIGKILL)
    return step, len(data), task.id


@pytest.mark.parametrize("size", SIZES)
def test_what_was_saved_outlives_a_worker(arrangement: Arrangement, size: int) -> None:
    with arrangement.pool(2, retries=3) as pool:
        for future in (view.submit(steps_that_die, 2, size) for view in (pool, pool.options(retry_delay=0.001))):
            assert future.result(60) == (2, 2 * size, future.tid)
            assert [attempt.number for attempt in future.attempts] == [0, 1]


def wait_in_first_try(path: str, size: int) -> Any:
    found = task.restored()
    if found is not None:
        return len(found), task.try_number
    task.save(bytes(size))
    task.progress(0.5, "saved")
    Path(path).touch()
    while True:
        signal.pause()


def has_saved(future: Any) -> bool:
    return future.progress is not None and future.progress.text == "saved"


@pytest.mark.parametrize(
    "part, size", [("interchange", LARGE), ("manager", 10), ("manager", LARGE), ("fork_server", 10)]
)
def test_what_was_saved_outlives_its_place(arrangement: Arrangement, part: str, size: int, tmp_path: Path) -> None:
    with arrangement.pool(2) as pool:
        future = pool.submit(wait_in_first_try, str(tmp_path / "saved"), size)
        eventually(lambda: has_saved(future))
        survives = part == "interchange" and not arrangement.inside  # the task goes on, and waits
        getattr(arrangement.parts(pool), part).kill()
        if survives:
            eventually(lambda: pool.submit(abs, -1).result(60) == 1)
            arrangement.parts(pool).manager.kill()
        assert future.result(60) == (size, 1)


def test_a_walltime_leaves_what_was_saved_to_the_next_try(arrangement: Arrangement, tmp_path: Path) -> None:
    seen: list[Any] = []

    def handler(error: BaseException, record: Any) -> float:
        seen.append((type(error), record.progress))
        return 1.0

    with arrangement.pool(1) as pool:
        view = pool.options(retries=9, retry_handler=handler, walltime=2)
        size, tries = view.submit(wait_in_first_try, str(tmp_path / "saved"), 10).result(60)
    # On a busy machine a try may be ended before it has come so far.
    assert size == 10 and tries == len(seen) >= 1
    assert {kind for kind, _ in seen} == {AppTimeout} and seen[-1][1].text == "saved"


def save_for_ever() -> None:
    number = 0
    while True:
        task.save((number, bytes(LARGE)))
        number += 1


def test_a_pool_can_be_ended_while_a_task_saves(arrangement: Arrangement) -> None:
    with arrangement.pool(1) as pool:
        future = pool.submit(save_for_ever)
        eventually(future.running)
        pool.kill_workers()
        assert future.exception(60) is not None
