"""Limits of the system: a pool works with what it may have, or says which limit it is."""

import re
import resource
from pathlib import Path

import pytest

from parsl_pool import portable
from tests.environments.places import WORKS, Place, other_user

pytestmark = pytest.mark.timeout(120)

HARD_NOFILE = resource.getrlimit(resource.RLIMIT_NOFILE)[1]


@pytest.mark.parametrize("count", [32, 256, min(HARD_NOFILE, 1 << 20)])
def test_few_files_or_very_many(folder: Path, count: int) -> None:
    assert Place(steps=[["limit", "NOFILE", count]]).run(folder) == WORKS


def test_more_workers_than_the_soft_limit_of_files_allows(folder: Path) -> None:
    """A manager has four files for each worker."""
    before = """
import resource
resource.setrlimit(resource.RLIMIT_NOFILE, (64, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
from parsl_pool import ParslPoolExecutor
with ParslPoolExecutor(24, initializer=abs, initargs=(1,), manager_inside=True) as pool:
    import time
    list(pool.map(time.sleep, [0.5] * 24))
    assert len(pool._processes) == 24, len(pool._processes)
"""
    assert Place(before=before, arrangements=("inside",)).run(folder) == {"inside": "works"}


def test_too_few_files(folder: Path) -> None:
    outcome = Place(steps=[["limit", "NOFILE", 16]]).run(folder)
    for text in outcome.values():
        assert re.match(r"(PoolBroken|StartError): .*Too many open files.*RLIMIT_NOFILE", text, re.S)


@pytest.mark.parametrize(
    "count, outcome",
    [
        (1, r"StartError: .*RLIMIT_NPROC.*interchange"),  # not even the interchange
        (4, r"PoolBroken: no worker can be started: .*cannot fork a worker: .*RLIMIT_NPROC"),
        (5, r"works$"),  # program, its thread, interchange, fork server; one worker instead of two
    ],
)
def test_few_processes(folder: Path, count: int, outcome: str) -> None:
    place = Place(steps=other_user_with(["limit", "NPROC", count]), arrangements=("inside",))
    text = place.run(folder)["inside"]
    assert re.match(outcome, text, re.S), text


@pytest.mark.parametrize("count", [3, 5, 8])
def test_few_processes_with_the_manager_apart(folder: Path, count: int) -> None:
    """No thread for libzmq; none for who keeps the blocks; no process for the shell of one."""
    text = Place(steps=other_user_with(["limit", "NPROC", count]), arrangements=("apart",)).run(folder)["apart"]
    refused = "RLIMIT_NPROC|Resource temporarily unavailable|Cannot fork"
    assert re.match(rf"(PoolBroken|StartError): .*({refused})", text, re.S), text


def other_user_with(limit: list[object]) -> list[list[object]]:
    """The limit counts all processes of a user, and root has none."""
    steps = other_user()
    if not steps:
        pytest.skip("this user has other processes, which the limit would count")
    return [*steps[:-1], limit, steps[-1]]


def test_a_task_without_memory_fails_alone(folder: Path) -> None:
    place = Place(
        steps=[["limit", "AS", 600 << 20]], extra="type(pool.submit(bytes, 1 << 30).exception(40)) is MemoryError"
    )
    assert place.run(folder) == WORKS


def test_files_of_no_size(folder: Path) -> None:
    """Shared memory is a file to this limit."""
    outcome = Place(steps=[["limit", "FSIZE", 0]]).run(folder)
    memory = "No usable temporary directory" if portable.FORCED else "File too large.*RLIMIT_FSIZE"
    assert re.match(f"StartError: .*{memory}", outcome["inside"])
    assert re.match(r"ConfigurationError: .*run_dir=", outcome["apart"])


def test_large_data_that_shared_memory_may_not_hold_goes_another_way(folder: Path) -> None:
    size = 20 << 20
    extra = f"len(pool.submit(bytes, {size}).result(60)) == {size} == pool.submit(len, bytes({size})).result(60)"
    place = Place(steps=[["limit", "FSIZE", 16 << 20]], extra=extra, arrangements=("inside",))
    assert place.run(folder) == {"inside": "works"}
