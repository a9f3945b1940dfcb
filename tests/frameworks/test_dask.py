"""dask runs its graphs on the pool."""

from collections.abc import Callable
from typing import Any

import pytest

from tests.frameworks import work

dask: Any = pytest.importorskip("dask", reason="needs dask (extra 'frameworks')")


def test_the_pool_is_a_scheduler(pool: Any, ran_on_workers: Callable[..., bool]) -> None:
    calls = [dask.delayed(work.square_and_pid)(n) for n in range(30)]
    results = dask.compute(*calls, scheduler=pool)
    assert [value for value, _ in results] == [n * n for n in range(30)]
    assert ran_on_workers([pid for _, pid in results])


@pytest.mark.parametrize("scheduler", ["processes", "threads"])
def test_the_pool_is_configured_for_a_scheduler(
    scheduler: str, pool: Any, ran_on_workers: Callable[..., bool]
) -> None:
    with dask.config.set(pool=pool, scheduler=scheduler):
        results = dask.compute(*(dask.delayed(work.square_and_pid)(n) for n in range(30)))
    assert [value for value, _ in results] == [n * n for n in range(30)]
    assert ran_on_workers([pid for _, pid in results])


def test_a_graph_of_calls_that_need_each_other(pool: Any) -> None:
    leaves = [dask.delayed(work.square)(n) for n in range(16)]
    while len(leaves) > 1:
        leaves = [dask.delayed(sum)(leaves[n : n + 2]) for n in range(0, len(leaves), 2)]
    assert leaves[0].compute(scheduler=pool) == sum(n * n for n in range(16))


def test_arrays(pool: Any) -> None:
    array: Any = pytest.importorskip("dask.array", reason="needs dask[array] (extra 'frameworks')")
    numbers = array.arange(100_000, chunks=7_000)
    with dask.config.set(pool=pool, scheduler="processes"):
        assert int((numbers * numbers + 1).sum().compute()) == sum(n * n + 1 for n in range(100_000))
        assert (numbers[::-1].compute()[:3] == [99_999, 99_998, 99_997]).all()


def test_an_exception_arrives_as_itself(pool: Any) -> None:
    with pytest.raises(ZeroDivisionError):
        dask.compute(dask.delayed(work.divide)(1, 0), scheduler=pool)
    assert dask.compute(dask.delayed(work.divide)(1, 2), scheduler=pool) == (0.5,)


def test_the_pool_stays_open_for_its_owner(pool: Any) -> None:
    dask.compute(dask.delayed(work.square)(3), scheduler=pool)
    with dask.config.set(pool=pool, scheduler="processes"):
        dask.compute(dask.delayed(work.square)(3))
    assert pool.submit(work.square, 4).result() == 16
