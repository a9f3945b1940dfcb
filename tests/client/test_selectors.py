"""Which managers get tasks first."""

from collections import Counter
from collections.abc import Mapping
from typing import Any

import pytest

from parsl_pool import Config, HighThroughputExecutor, ParslPoolExecutor
from parsl_pool.executors import BlockIdManagerSelector, ManagerSelector, RandomManagerSelector
from parsl_pool.providers import SimulatedProvider
from parsl_pool.simulation import last
from tests.eventually import eventually

BLOCKS = 4
WORKERS = 3


def pool_with(selector: ManagerSelector | None) -> ParslPoolExecutor:
    provider = SimulatedProvider(nodes=BLOCKS, init_blocks=BLOCKS, min_blocks=BLOCKS, max_blocks=BLOCKS)
    executor = HighThroughputExecutor(provider=provider, max_workers_per_node=WORKERS, manager_selector=selector)
    return ParslPoolExecutor(Config([executor], run_dir=None))


def held_by_block(pool: ParslPoolExecutor, tasks: int) -> Counter[str]:
    """How many of that many long tasks each block gets, once all managers are there."""
    pool.submit(last, 0.0).result()
    eventually(lambda: [each["tasks"] for each in pool._backend.connected_managers()] == [0] * BLOCKS)
    futures = [pool.submit(last, 1e6) for _ in range(tasks)]
    eventually(lambda: sum(each["tasks"] for each in pool._backend.connected_managers()) == tasks)
    held = Counter({each["block_id"]: each["tasks"] for each in pool._backend.connected_managers()})
    for future in futures:
        future.kill()
    return held


@pytest.mark.parametrize("selector", [None, RandomManagerSelector()], ids=["none", "random"])
def test_by_default_all_get_their_share(selector: ManagerSelector | None) -> None:
    with pool_with(selector) as pool:
        assert held_by_block(pool, BLOCKS) == {str(block): 1 for block in range(BLOCKS)}


def test_the_oldest_block_first() -> None:
    with pool_with(BlockIdManagerSelector()) as pool:
        # A made-up node takes twice as many as it has workers. The selector's answer may come after the first tasks.
        eventually(lambda: +held_by_block(pool, 2 * WORKERS + 1) == {"0": 2 * WORKERS, "1": 1}, within=30)


class YoungestFirst(ManagerSelector):
    def sort_managers(self, ready_managers: Mapping[str, Mapping[str, Any]], manager_list: set[str]) -> list[str]:
        assert set(ready_managers) == manager_list
        return sorted(manager_list, key=lambda name: -int(ready_managers[name]["block_id"])) + ["nobody"]


def test_ones_own() -> None:
    with pool_with(YoungestFirst()) as pool:
        eventually(lambda: +held_by_block(pool, WORKERS) == {str(BLOCKS - 1): WORKERS}, within=30)


class Fails(ManagerSelector):
    def sort_managers(self, ready_managers: Mapping[str, Mapping[str, Any]], manager_list: set[str]) -> list[str]:
        raise OSError("of the user's")


def test_one_that_fails_is_told_and_harms_nothing(caplog: pytest.LogCaptureFixture) -> None:
    with pool_with(Fails()) as pool:
        assert held_by_block(pool, BLOCKS) == {str(block): 1 for block in range(BLOCKS)}
        eventually(lambda: "its manager_selector failed" in caplog.text and "of the user's" in caplog.text)
