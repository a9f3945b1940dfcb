"""Tasks that ask for something, on real workers: what runs beside what."""

import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from parsl_pool import Config, HighThroughputExecutor, ParslPoolExecutor
from parsl_pool.errors import InvalidResourceSpecification, WorkerLost
from parsl_pool.interchange.node_facts import facts
from parsl_pool.providers import LocalProvider
from tests.eventually import eventually

pytestmark = pytest.mark.timeout(60)

EVERYTHING = facts(4)
HALF_OF_MEMORY = EVERYTHING.memory_mb // 2 + 1


@pytest.fixture(params=["inside", "apart"])
def pool(request: pytest.FixtureRequest) -> Iterator[ParslPoolExecutor]:
    with ParslPoolExecutor(4, manager_inside=request.param == "inside") as pool:
        yield pool


def marked(folder: str, name: str) -> int:
    """How many of these ran at once, at most, while this one did: each has a file as long as it runs."""
    path = os.path.join(folder, name)
    Path(path).touch()
    most = 0
    for _ in range(10):
        most = max(most, len(os.listdir(folder)))
        time.sleep(0.01)
    os.unlink(path)
    return most


def most_at_once(pool: Any, folder: Path, count: int) -> int:
    folder.mkdir()
    most: int = max(future.result() for future in [pool.submit(marked, str(folder), str(i)) for i in range(count)])
    return most


def meet(folder: str, count: int) -> bool:
    """Wait until so many run at once."""
    Path(folder, str(os.getpid())).touch()
    end = time.monotonic() + 20
    while len(os.listdir(folder)) < count and time.monotonic() < end:
        time.sleep(0.005)
    return len(os.listdir(folder)) >= count


def can_meet(pool: Any, folder: Path, count: int) -> bool:
    folder.mkdir()
    return all(future.result() for future in [pool.submit(meet, str(folder), count) for _ in range(count)])


def test_what_takes_half_of_the_node_runs_two_at_a_time(pool: ParslPoolExecutor, tmp_path: Path) -> None:
    cores = max(EVERYTHING.cores, 4)
    half = pool.options(resources={"cores": cores // 2})
    assert can_meet(half, tmp_path / "half", 2)
    assert most_at_once(half, tmp_path / "cores", 8) <= 2
    assert most_at_once(pool.options(resources={"memory": HALF_OF_MEMORY}), tmp_path / "memory", 3) == 1
    assert most_at_once(pool.options(resources={"cores": cores}), tmp_path / "all", 3) == 1
    assert can_meet(pool, tmp_path / "plain", 4)


def test_what_asks_and_what_does_not_share_the_workers(pool: ParslPoolExecutor, tmp_path: Path) -> None:
    wide = pool.options(resources={"cores": max(EVERYTHING.cores, 4) // 2})
    futures = [(wide if number % 3 == 0 else pool).submit(marked, str(tmp_path), str(number)) for number in range(30)]
    assert max(future.result() for future in futures) <= 4
    assert not os.listdir(tmp_path)


def die(path: str) -> None:
    if not os.path.exists(path):
        Path(path).touch()
        os._exit(3)


def test_what_a_worker_had_that_died_is_there_for_the_next(pool: ParslPoolExecutor, tmp_path: Path) -> None:
    all_of_it = pool.options(resources={"cores": max(EVERYTHING.cores, 4), "memory": HALF_OF_MEMORY})
    for number in range(3):
        with pytest.raises(WorkerLost):
            all_of_it.submit(die, str(tmp_path / str(number))).result()
    assert all_of_it.options(retries=1).submit(die, str(tmp_path / "last")).result() is None
    assert all_of_it.submit(abs, -1).result() == 1


def wait_for(path: str) -> None:
    while not os.path.exists(path):
        time.sleep(0.005)


def test_one_that_was_cancelled_or_killed_leaves_its_room(pool: ParslPoolExecutor, tmp_path: Path) -> None:
    half = pool.options(resources={"memory": HALF_OF_MEMORY})
    first = half.submit(wait_for, str(tmp_path / "never"))
    second, third = half.submit(wait_for, str(tmp_path / "never")), half.submit(abs, -3)
    eventually(first.running)
    assert "2 tasks ask for resources, and have not begun; the first one is task" in pool.explain()
    assert second.cancel()
    assert not third.done()
    assert first.kill()
    assert third.result() == 3


def test_a_lower_priority_number_goes_first(tmp_path: Path) -> None:
    with ParslPoolExecutor(1) as pool:
        blocker = pool.submit(wait_for, str(tmp_path / "go"))
        eventually(blocker.running)
        order: list[int] = []
        futures = [
            pool.options(resources={"cores": 1, "priority": priority}).submit(abs, priority) for priority in (5, 1, 3)
        ]
        for future in futures:
            future.add_done_callback(lambda done: order.append(done.result()))
        (tmp_path / "go").touch()
        for future in futures:
            future.result()
        assert order == [1, 3, 5]


def tree(pool: Any, depth: int) -> int:
    if not depth:
        return 1
    wide = pool.options(resources={"cores": max(EVERYTHING.cores, 4)})
    return sum(future.result() for future in [wide.submit(tree, pool, depth - 1) for _ in range(2)])


def test_a_task_that_waits_for_others_lends_what_it_has_of_the_workers(pool: ParslPoolExecutor) -> None:
    assert pool.options(resources={"cores": max(EVERYTHING.cores, 4)}).submit(tree, pool, 2).result() == 4


@pytest.mark.parametrize("key", ["cores", "memory", "gpus"])
def test_what_this_machine_has_not_is_refused_when_the_call_is_made(pool: ParslPoolExecutor, key: str) -> None:
    with pytest.raises(InvalidResourceSpecification, match=f"'{key}': 9999999.*no manager of this executor can ever"):
        pool.options(resources={key: 9_999_999})
    assert pool.submit(abs, -1).result() == 1


class Elsewhere(LocalProvider):
    """Nobody knows that these blocks are on this machine."""


def test_what_no_manager_that_came_can_hold_fails_with_what_the_largest_has(tmp_path: Path) -> None:
    provider = Elsewhere(init_blocks=1, max_blocks=1)
    config = Config([HighThroughputExecutor("far", max_workers_per_node=2, provider=provider)], run_dir=str(tmp_path))
    with ParslPoolExecutor(config) as pool:
        future = pool.options(resources={"cores": 9_999}, retries=5).submit(abs, -1)
        with pytest.raises(InvalidResourceSpecification, match=r"executor far: task \d+ \(.*\): no manager can ever"):
            future.result()
        assert "the largest has" in str(future.exception())
        assert pool.options(resources={"cores": 2}).submit(abs, -1).result() == 1
