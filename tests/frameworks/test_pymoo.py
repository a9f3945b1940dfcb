"""pymoo evaluates a population through the pool's starmap."""

import os
from collections.abc import Callable
from typing import Any

import pytest

from tests.frameworks.conftest import STDLIB

pytest.importorskip("pymoo", reason="needs pymoo")
problems: Any = pytest.importorskip("pymoo.core.problem", reason="needs pymoo")
pymoo: Any = pytest.importorskip("pymoo.parallelization.starmap", reason="needs pymoo")

pytestmark = pytest.mark.skipif(STDLIB, reason="ProcessPoolExecutor has no starmap")


class Bowl(problems.ElementwiseProblem):  # type: ignore[misc]
    """Two numbers, and as a second "objective" the process that looked at them."""

    def __init__(self, runner: Any) -> None:
        super().__init__(n_var=2, n_obj=2, xl=-1, xu=1, elementwise_runner=runner)

    def _evaluate(self, x: Any, out: dict[str, Any]) -> None:
        out["F"] = [float((x * x).sum()), os.getpid()]


def test_a_population(pool: Any, ran_on_workers: Callable[..., bool]) -> None:
    numpy: Any = pytest.importorskip("numpy")
    population = numpy.linspace(-1, 1, 40).reshape(20, 2)
    found = Bowl(pymoo.StarmapParallelization(pool.starmap)).evaluate(population)
    assert found[:, 0] == pytest.approx((population**2).sum(axis=1))
    assert ran_on_workers([int(pid) for pid in found[:, 1]])
