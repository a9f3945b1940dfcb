"""nevergrad submits, and asks each job again and again whether it is done."""

from collections.abc import Callable
from typing import Any

import pytest

from tests.frameworks.conftest import WORKERS, TraceMaker

nevergrad: Any = pytest.importorskip("nevergrad", reason="needs nevergrad")

BUDGET = 80


def bowl(x: Any) -> float:
    return float(((x - 0.5) ** 2).sum())


@pytest.mark.parametrize("batch_mode", [False, True])
def test_minimize(
    batch_mode: bool, pool: Any, trace: TraceMaker, ran_on_workers: Callable[..., bool]
) -> None:
    traced = trace(bowl)
    optimizer = nevergrad.optimizers.OnePlusOne(parametrization=2, budget=BUDGET, num_workers=WORKERS)
    optimizer.parametrization.random_state.seed(5)
    found = optimizer.minimize(traced, executor=pool, batch_mode=batch_mode)
    assert bowl(found.value) < 0.1
    assert optimizer.num_tell == BUDGET == len(traced.pids())
    assert ran_on_workers(traced.pids())
