"""Programs that run for long: numbers and names are used up, and used again; what lasts longer must not notice."""

import itertools
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from time import sleep
from typing import Any

import pytest

from parsl_pool import ParslPoolExecutor
from parsl_pool.executors.high_throughput import functions as functions_module
from parsl_pool.executors.high_throughput.link import Link
from parsl_pool.interchange.page import CLAIM_SLOTS
from tests.client.functions_to_send import double
from tests.eventually import eventually


@pytest.fixture
def pool() -> Iterator[ParslPoolExecutor]:
    pool = ParslPoolExecutor(2)
    yield pool
    pool.kill_workers()  # what fails here leaves tasks that never end


def wait_for(gate: Path) -> str:
    while not gate.exists():
        sleep(0.01)
    return "through"


def link_of(pool: ParslPoolExecutor) -> Link:
    (link,) = [backend.link for backend in pool._backends.values()]
    assert isinstance(link, Link)
    return link


def closure(number: int) -> Any:
    return lambda x=0: number + x


def use_up(numbers: Iterator[int], count: int) -> None:
    deque(itertools.islice(numbers, count), maxlen=0)


@pytest.mark.parametrize("laps", [1, 2])
def test_a_task_that_runs_while_millions_of_others_do_is_still_known_to_run(
    pool: ParslPoolExecutor, laps: int, tmp_path: Path
) -> None:
    """Tasks whose numbers are CLAIM_SLOTS apart share a place in the table that tells whether they have begun."""
    link = link_of(pool)
    gate = tmp_path / "gate"
    future = pool.submit(wait_for, gate)
    try:
        eventually(future.running)
        use_up(link._ids, laps * CLAIM_SLOTS - 3)
        others = [pool.submit(double, number) for number in range(4)]
        assert [other.result(10) for other in others] == [0, 2, 4, 6]
        assert future.running() and not future.cancel()
    finally:
        gate.touch()
    assert future.result(10) == "through"


def test_a_cancelled_number_cancels_nobody_a_thousand_million_tasks_later(
    pool: ParslPoolExecutor, tmp_path: Path
) -> None:
    """There are 255 marks; with the next lap after that they begin anew."""
    link = link_of(pool)
    gate = tmp_path / "gate"
    blocking = [pool.submit(wait_for, gate) for _ in range(2)]
    cancelled = pool.submit(double, 1)
    assert cancelled.cancel()
    gate.touch()
    assert [future.result(10) for future in blocking] == ["through"] * 2
    pool.submit(double, 1).result(10)
    link._ids = itertools.count(cancelled._tid + 255 * CLAIM_SLOTS)
    assert pool.submit(double, 5).result(10) == 10


def test_functions_of_tasks_that_wait_for_others_are_kept(
    pool: ParslPoolExecutor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are not under way yet, but they will be."""
    monkeypatch.setattr(functions_module, "_KEEP_COUNT", 10)
    gate = tmp_path / "gate"
    waiting = pool.submit(closure(1000), pool.submit(len, pool.submit(wait_for, gate)))
    for number in range(40):
        assert pool.submit(closure(number)).result(10) == number
    gate.touch()
    assert waiting.result(10) == 1007


def test_names_of_forgotten_functions_are_forgotten(pool: ParslPoolExecutor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(functions_module, "_KEEP_COUNT", 10)
    for number in range(60):
        pool.submit(closure(2000 + number)).result(10)
    assert len(link_of(pool).names) < 40
