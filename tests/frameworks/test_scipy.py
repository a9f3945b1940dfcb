"""scipy's solvers take pool.map as their `workers`, and find what they find alone."""

import os
from collections.abc import Callable
from typing import Any

import pytest

from tests.frameworks.conftest import STDLIB, TraceMaker

optimize: Any = pytest.importorskip("scipy.optimize", reason="needs scipy (extra 'frameworks')")
integrate: Any = pytest.importorskip("scipy.integrate", reason="needs scipy (extra 'frameworks')")

BOUNDS = [(-2, 2), (-2, 2), (-2, 2)]


def bowl(x: Any) -> float:
    return float(((x - 0.5) ** 2).sum())


def kink(x: float) -> float:
    return float(abs(x - 0.3) ** 0.5)


def broken(x: Any) -> float:
    raise ZeroDivisionError("in the user's function")


def _evolve(function: Any, workers: Any) -> Any:
    return optimize.differential_evolution(
        function, BOUNDS, workers=workers, updating="deferred", rng=1, maxiter=8, polish=False
    )


def test_differential_evolution(pool: Any, trace: TraceMaker, ran_on_workers: Callable[..., bool]) -> None:
    traced = trace(bowl)
    found, alone = _evolve(traced, pool.map), _evolve(bowl, 1)
    assert (found.x == alone.x).all()
    assert (found.fun, found.nfev) == (alone.fun, alone.nfev)
    assert ran_on_workers(traced.pids())
    assert len(traced.pids()) == found.nfev


def test_brute(pool: Any, trace: TraceMaker, ran_on_workers: Callable[..., bool]) -> None:
    traced = trace(bowl)
    ranges = (slice(-1, 1, 0.25), slice(-1, 1, 0.25))
    found = optimize.brute(traced, ranges, workers=pool.map, finish=None)
    assert (found == [0.5, 0.5]).all()
    assert ran_on_workers(traced.pids())


def test_quad_vec(pool: Any, trace: TraceMaker, ran_on_workers: Callable[..., bool]) -> None:
    traced = trace(kink)
    value, _ = integrate.quad_vec(traced, 0, 1, epsabs=1e-12, epsrel=1e-12, workers=pool.map)
    assert value == pytest.approx(2 / 3 * (0.3**1.5 + 0.7**1.5))
    assert ran_on_workers([pid for pid in traced.pids() if pid != os.getpid()])  # it starts here, alone


def test_the_error_of_the_users_function_is_what_the_user_sees(pool: Any) -> None:
    with pytest.raises(ZeroDivisionError, match="in the user's function"):
        _evolve(broken, pool.map)


@pytest.mark.skipif(STDLIB, reason="ProcessPoolExecutor can't send a closure")
def test_a_closure_is_as_good_as_a_function(pool: Any) -> None:
    centre = 0.25
    found = _evolve(lambda x: float(((x - centre) ** 2).sum()), pool.map)
    assert found.fun < 0.1
