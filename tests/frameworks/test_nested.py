"""A pool inside a worker of somebody else's pool: what a framework's own workers may have to start."""

import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from typing import Any

import pytest

from tests.cpython.pools import POOLS
from tests.frameworks import work
from tests.frameworks.conftest import STDLIB, WORKERS


def squares_in_a_pool(name: str) -> list[int]:
    pool_class: Any = POOLS[name]()
    with pool_class(WORKERS) as pool:
        return list(pool.map(work.square, range(10)))


@pytest.fixture
def pool_name(manager_inside: bool) -> str:
    return "stdlib" if STDLIB else "inside" if manager_inside else "apart"


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_inside_a_worker_of_the_standard_pool(method: str, pool_name: str) -> None:
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context(method)) as outer:
        assert outer.submit(squares_in_a_pool, pool_name).result(60) == [n * n for n in range(10)]


@pytest.mark.skipif(STDLIB, reason="ProcessPoolExecutor refuses: daemonic processes can't have children")
def test_inside_a_worker_of_a_multiprocessing_pool(pool_name: str) -> None:
    with multiprocessing.get_context("spawn").Pool(1) as outer:
        assert outer.apply(squares_in_a_pool, [pool_name]) == [n * n for n in range(10)]
        outer.close()
        outer.join()


def test_inside_a_worker_of_its_own_kind(pool: Any, pool_name: str) -> None:
    assert pool.submit(squares_in_a_pool, pool_name).result(60) == [n * n for n in range(10)]
