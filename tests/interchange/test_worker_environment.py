"""What a task finds in its environment about where it runs."""

import multiprocessing
import os
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from parsl_pool import Config, HighThroughputExecutor, ParslPoolExecutor, portable
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


def seen() -> dict[str, Any]:
    """What belongs to this worker's place."""
    time.sleep(0.05)  # so that one does not do the other's
    names = ("PARSL_WORKER_RANK", "CUDA_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES", "ZE_AFFINITY_MASK",
             "OMP_NUM_THREADS", "GOMP_CPU_AFFINITY", "KMP_AFFINITY")  # fmt: skip
    cores = sorted(os.sched_getaffinity(0)) if portable.has(os, "sched_setaffinity") else None
    return {"pid": os.getpid(), "cores": cores, **{name: os.environ.get(name) for name in names}}


def places(pool: ParslPoolExecutor) -> dict[str, dict[str, Any]]:
    """Rank -> what a worker of each rank has seen."""
    found: dict[str, dict[str, Any]] = {}

    def are_all_seen() -> bool:
        for place in [future.result(30) for future in [pool.submit(seen) for _ in range(4)]]:
            found[place["PARSL_WORKER_RANK"]] = place
        return len(found) == 2

    eventually(are_all_seen, within=40)
    return found


def one_core_each() -> tuple[str, list[list[int]]]:
    """An affinity for two workers, on any machine."""
    cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else [0]
    return f"list:{cores[0]}:{cores[-1]}", [[cores[0]], [cores[-1]]]


@pytest.mark.parametrize("method", ["forkserver", "spawn"])
def test_each_worker_has_cores_and_an_accelerator_of_its_own_and_so_has_its_successor(
    manager_inside: bool, method: str
) -> None:
    word, cores = one_core_each()
    executor = HighThroughputExecutor(
        start_method=method, manager_inside=manager_inside, available_accelerators=["0,1", "2,3"], cpu_affinity=word,
        cores_per_worker=1e-6,
    )  # fmt: skip
    assert executor.max_workers_per_node == 2
    with ParslPoolExecutor(Config([executor], run_dir=None)) as pool:
        before = places(pool)
        for rank, accelerator in (("0", "0,1"), ("1", "2,3")):
            place = before[rank]
            assert {place[name] for name in place if "DEVICES" in name or "MASK" in name} == {accelerator}
            assert place["OMP_NUM_THREADS"] == "1" and place["GOMP_CPU_AFFINITY"] == str(cores[int(rank)][0])
            if place["cores"] is not None:
                assert place["cores"] == cores[int(rank)]
        victim = before["1"]["pid"]
        os.kill(victim, signal.SIGKILL)
        eventually(lambda: victim not in pool._processes)
        after = places(pool)
        assert after["0"] == before["0"], "the other one lives on"
        assert after["1"] == {**before["1"], "pid": after["1"]["pid"]} and after["1"]["pid"] != victim


def test_whoever_is_replaced_after_its_tasks_leaves_its_place_to_the_next(manager_inside: bool) -> None:
    executor = HighThroughputExecutor(
        manager_inside=manager_inside, available_accelerators=2, cores_per_worker=1e-6, max_tasks_per_child=1
    )
    with ParslPoolExecutor(Config([executor], run_dir=None)) as pool:
        found = [future.result(30) for future in [pool.submit(seen) for _ in range(8)]]
    assert len({place["pid"] for place in found}) == 8
    assert {(place["PARSL_WORKER_RANK"], place["CUDA_VISIBLE_DEVICES"]) for place in found} == {("0", "0"), ("1", "1")}


def outer(pool: Any) -> list[str]:
    """Waits for a task that can't be run right here, so that another worker gets this one's place."""
    inner = pool.options(walltime=20).submit(seen).result()
    return [os.environ["PARSL_WORKER_RANK"], inner["PARSL_WORKER_RANK"], inner["CUDA_VISIBLE_DEVICES"]]


def test_an_extra_worker_has_the_place_of_the_one_that_waits(manager_inside: bool) -> None:
    executor = HighThroughputExecutor(manager_inside=manager_inside, available_accelerators=["x"])
    with ParslPoolExecutor(Config([executor], run_dir=None)) as pool:
        assert pool.submit(outer, pool).result(40) == ["0", "0", "x"]
