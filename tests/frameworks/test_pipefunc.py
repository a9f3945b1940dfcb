"""pipefunc maps a pipeline over its inputs, and knows process pools by their class."""

import os
from collections.abc import Callable
from typing import Any

import pytest

pipefunc: Any = pytest.importorskip("pipefunc", reason="needs pipefunc")


def double(x: int) -> tuple[int, int]:
    return 2 * x, os.getpid()


def increase(y: tuple[int, int]) -> tuple[int, int]:
    return y[0] + 1, y[1]


def total(z: Any) -> int:
    return sum(value for value, _ in z)


def test_a_pipeline(pool: Any, ran_on_workers: Callable[..., bool]) -> None:
    pipeline = pipefunc.Pipeline(
        [
            pipefunc.PipeFunc(double, "y", mapspec="x[i] -> y[i]"),
            pipefunc.PipeFunc(increase, "z", mapspec="y[i] -> z[i]"),
            pipefunc.PipeFunc(total, "sum"),
        ],
        validate_type_annotations=False,
    )
    results = pipeline.map({"x": list(range(20))}, executor=pool, storage="dict", show_progress=False)
    values = list(results["z"].output)
    assert [value for value, _ in values] == [2 * n + 1 for n in range(20)]
    assert ran_on_workers([pid for _, pid in values])
    assert results["sum"].output == sum(2 * n + 1 for n in range(20))
