"""What a task finds in its environment about where it runs."""

import multiprocessing
import os
import time
from pathlib import Path

import pytest

from parsl_pool import Config, HighThroughputExecutor, ParslPoolExecutor
from parsl_pool.providers import LocalProvider
from tests.eventually import eventually
from tests.recovery.arrangement import Arrangement, arrangement

__all__ = ["arrangement"]

pytestmark = pytest.mark.timeout(60)

NAMES = ("RANK", "COUNT", "POOL_ID", "BLOCK_ID")


def found(flag: Path, number: int) -> dict[str, str]:
    """Waits for the other one, so that each has a worker of its own."""
    (flag / str(number)).touch()
    eventually(lambda: len(os.listdir(flag)) == 2, within=50)
    return {name: os.environ[f"PARSL_WORKER_{name}"] for name in NAMES}


@pytest.mark.parametrize("method", ["forkserver", "spawn"])
def test_rank_count_and_names_are_in_the_environment(
    arrangement: Arrangement, manager_inside: bool, tmp_path: Path, method: str
) -> None:
    context = multiprocessing.get_context(method)
    with ParslPoolExecutor(2, mp_context=context, manager_inside=manager_inside) as pool:
        one, other = [future.result(50) for future in [pool.submit(found, tmp_path, number) for number in range(2)]]
        managers = set(pool._backend.workers.managers)
    assert {one.pop("RANK"), other.pop("RANK")} == {"0", "1"} and one == other
    assert (one["COUNT"], one["BLOCK_ID"], bool(one["POOL_ID"])) == ("2", "0", True)
    assert managers == (set() if manager_inside else {one["POOL_ID"]})
    assert not any(f"PARSL_WORKER_{name}" in os.environ for name in NAMES)


def where() -> tuple[str, str]:
    time.sleep(0.01)  # so that one does not do the other's
    return os.environ["PARSL_WORKER_POOL_ID"], os.environ["PARSL_WORKER_BLOCK_ID"]


def test_each_block_has_a_name_of_its_own() -> None:
    provider = LocalProvider(init_blocks=2, max_blocks=2)
    executor = HighThroughputExecutor(max_workers_per_node=1, provider=provider)
    with ParslPoolExecutor(Config([executor])) as pool:
        seen: set[tuple[str, str]] = set()

        def are_both_seen() -> bool:
            seen.update([future.result(30) for future in [pool.submit(where) for _ in range(4)]])
            return len(seen) == 2

        eventually(are_both_seen, within=40)
    assert {block for _, block in seen} == {"0", "1"} and len({manager for manager, _ in seen}) == 2
