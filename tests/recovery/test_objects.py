"""Objects that were put outlive every process but their own, and leave nothing behind when that is killed."""

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import psutil
import pytest

from parsl_pool import Config, HighThroughputExecutor, ParslPoolExecutor, portable
from parsl_pool.providers import LocalProvider
from tests.eventually import eventually
from tests.recovery.arrangement import Arrangement, is_over

np: Any = pytest.importorskip("numpy", reason="numpy is in the extra 'test'")

pytestmark = [pytest.mark.kill, pytest.mark.timeout(120)]

LARGE = 1_000_000


def total(array: Any) -> float:
    return float(array.sum())


def kill_a_part(arrangement: Arrangement, pool: ParslPoolExecutor, part: str) -> None:
    parts = arrangement.parts(pool)
    killed = parts.workers if part == "workers" else [getattr(parts, part)]
    for process in killed:
        process.kill()
    eventually(lambda: all(map(is_over, killed)))


@pytest.mark.parametrize("part", ["workers", "fork_server", "manager", "interchange"])
def test_whoever_is_killed_the_object_is_there(arrangement: Arrangement, part: str) -> None:
    if arrangement.inside and part == "manager":
        pytest.skip("it is the interchange")
    with arrangement.pool(2, retries=3, lost_retries=10) as pool:
        ref, small = pool.put(np.ones(LARGE)), pool.put([1, 2])
        assert pool.submit(total, ref).result(30) == LARGE
        kill_a_part(arrangement, pool, part)
        assert pool.submit(total, ref).result(60) == LARGE
        assert pool.submit(sum, small).result(60) == 3
        kept = pool.options(result="ref").submit(np.ones, LARGE)
        result = kept.result(60)
        kill_a_part(arrangement, pool, part)
        assert pool.submit(total, kept).result(60) == result.get().sum() == LARGE


@pytest.mark.parametrize("part", ["manager", "interchange"])
def test_who_is_killed_as_an_object_is_on_its_way_in_parts(tmp_path: Path, part: str) -> None:
    provider = LocalProvider(init_blocks=1, min_blocks=1, max_blocks=2, worker_init="export PARSL_POOL_PORTABLE=1")
    executor = HighThroughputExecutor(max_workers_per_node=2, provider=provider, manager_inside=False)
    arrangement = Arrangement(inside=False)
    with ParslPoolExecutor(
        Config([executor], run_dir=str(tmp_path), initialize_logging=True, retries=3, lost_retries=10)
    ) as pool:
        assert pool.submit(abs, -1).result(60) == 1
        array = np.ones(8 * LARGE)
        ref = pool.put(array)
        futures = [pool.submit(total, ref) for _ in range(4)]
        (log,) = tmp_path.rglob("*interchange*.log")
        eventually(lambda: " goes to manager " in log.read_text(), within=30)
        kill_a_part(arrangement, pool, part)
        assert [future.result(90) for future in futures] == [8 * LARGE] * 4


@pytest.mark.skipif(not portable.has_proc(), reason="whose memory it is, /proc tells")
def test_what_is_freed_while_there_is_no_interchange_is_freed_at_managers_too() -> None:
    arrangement = Arrangement(inside=False)
    with arrangement.pool(1) as pool:
        ref = pool.put(np.ones(LARGE))
        assert pool.submit(total, ref).result(30) == LARGE
        parts = arrangement.parts(pool)
        holders = [parts.manager.pid, *(worker.pid for worker in parts.workers)]
        eventually(lambda: all(has_objects(pid) for pid in holders))
        parts.interchange.kill()
        ref.free()
        assert pool.submit(abs, -1).result(60) == 1
        eventually(lambda: not any(has_objects(pid) for pid in holders), within=30)


def has_objects(pid: int) -> bool:
    """Whether a process has the memory of one, by its descriptors and its maps."""
    names = [os.readlink(entry) for entry in Path(f"/proc/{pid}/fd").iterdir() if entry.is_symlink()]
    return "parsl-pool-object" in "".join(names) + Path(f"/proc/{pid}/maps").read_text()


PROGRAM = """
import os, sys, numpy
from parsl_pool import ParslPoolExecutor
pool = ParslPoolExecutor(2, manager_inside={inside})
ref = pool.put(numpy.ones(1_000_000))
print(pool.submit(lambda array: float(array.sum()), ref).result(60), *pool._processes, flush=True)
pool.submit(lambda array: input(), ref)
kept = pool.options(result="ref").submit(numpy.ones, 1_000_000)
kept.result(60)
print("ready", flush=True)
sys.stdin.read()
"""


def test_nothing_is_left_by_a_client_that_is_killed(manager_inside: bool) -> None:
    program = subprocess.Popen(
        [sys.executable, "-c", PROGRAM.format(inside=manager_inside)], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        text=True,
    )  # fmt: skip
    assert program.stdout is not None and program.stdin is not None
    with program:
        first, *_ = program.stdout.readline().split()
        assert float(first) == LARGE and program.stdout.readline() == "ready\n"
        processes = psutil.Process(program.pid).children(recursive=True)
        os.kill(program.pid, signal.SIGKILL)
        program.wait(10)
        program.stdin.close()
    eventually(lambda: all(map(is_over, processes)), within=30)
