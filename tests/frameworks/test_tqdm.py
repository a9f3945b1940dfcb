"""tqdm's bars follow the pool: in the client, and in the workers with a shared lock."""

import concurrent.futures
import io
import multiprocessing
import os
from collections.abc import Callable, Iterator
from concurrent.futures import as_completed
from typing import Any

import pytest

from tests.frameworks import work
from tests.frameworks.conftest import STDLIB, WORKERS

tqdm: Any = pytest.importorskip("tqdm", reason="needs tqdm (extra 'frameworks')")
contrib: Any = pytest.importorskip("tqdm.contrib.concurrent", reason="needs tqdm (extra 'frameworks')")


class Bar(tqdm.tqdm):  # type: ignore[misc]
    """A class of its own: a lock that is set on tqdm's stays for the whole session."""


def step(number: int) -> tuple[int, int, str]:
    with Bar(total=1, file=io.StringIO()) as bar:
        bar.update()
        return number * number, os.getpid(), type(Bar.get_lock()).__qualname__


@pytest.fixture
def process_map(pool_class: Any, monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[Any]]:
    """tqdm's own function, with our pool where it looks for one."""
    monkeypatch.setattr(concurrent.futures, "ProcessPoolExecutor", pool_class)
    function: Callable[..., list[Any]] = contrib.process_map
    return function


@pytest.fixture
def spawn_lock() -> Iterator[None]:
    """A lock that reaches every process; tqdm makes one of the fork context if it finds none."""
    Bar.set_lock(multiprocessing.get_context("spawn").RLock())
    yield  # and no name for it: it has to be gone when the test is
    del Bar._lock


@pytest.mark.parametrize("chunksize", [1, 4])
def test_process_map(
    chunksize: int,
    process_map: Callable[..., list[Any]],
    spawn_lock: None,
    ran_on_workers: Callable[..., bool],
) -> None:
    shown = io.StringIO()
    bar = {"tqdm_class": Bar, "file": shown, "miniters": 1, "mininterval": 0}
    results = process_map(step, range(20), max_workers=WORKERS, chunksize=chunksize, **bar)
    assert [value for value, _, _ in results] == [n * n for n in range(20)]
    assert ran_on_workers([pid for _, pid, _ in results])
    assert {lock for _, _, lock in results} == {"RLock"}  # the initializer has set ours
    # The bar counts calls of submit, which process_map has replaced: one an item, or one a chunk.
    assert any(f"{count}/20" in shown.getvalue() for count in (20, 20 // chunksize))


@pytest.mark.skipif(STDLIB, reason="ProcessPoolExecutor forks this process: there the lock works")
def test_a_lock_of_the_fork_context_gets_an_error_that_says_what_to_do(
    process_map: Callable[..., list[Any]],
) -> None:
    Bar.set_lock(multiprocessing.get_context("fork").RLock())
    try:
        with pytest.raises(Exception, match="spawn"):
            process_map(step, range(4), max_workers=WORKERS, tqdm_class=Bar, file=io.StringIO())
    finally:
        del Bar._lock


def test_a_bar_around_as_completed(pool: Any, ran_on_workers: Callable[..., bool]) -> None:
    shown = io.StringIO()
    futures = [pool.submit(work.square_and_pid, n) for n in range(50)]
    with tqdm.tqdm(as_completed(futures), total=len(futures), file=shown) as bar:
        results = [future.result() for future in bar]
    assert sorted(value for value, _ in results) == [n * n for n in range(50)]
    assert ran_on_workers([pid for _, pid in results])
    assert "50/50" in shown.getvalue()


def test_a_bar_around_map(pool: Any) -> None:
    shown = io.StringIO()
    results = list(tqdm.tqdm(pool.map(work.square, range(50), chunksize=5), total=50, file=shown))
    assert results == [n * n for n in range(50)]
    assert "50/50" in shown.getvalue()
