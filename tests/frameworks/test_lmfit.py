"""lmfit's Monte Carlo pickles a method of an object that holds the pool: no other process pool gets through that."""

import os
from collections.abc import Callable
from typing import Any

import pytest

from tests.frameworks.conftest import TraceMaker

lmfit: Any = pytest.importorskip("lmfit", reason="needs lmfit (extra 'frameworks')")
pytest.importorskip("emcee", reason="needs emcee (extra 'frameworks')")
numpy: Any = pytest.importorskip("numpy")

WALKERS, STEPS = 12, 20


def residual(parameters: Any, x: Any, data: Any) -> Any:
    return (parameters["slope"] * x + parameters["offset"] - data) / 0.1


def _fit(function: Any, workers: Any) -> Any:
    x = numpy.linspace(0, 1, 20)
    data = 3 * x + 1 + 0.1 * numpy.random.RandomState(5).standard_normal(20)
    parameters = lmfit.Parameters()
    parameters.add("slope", value=3, min=0, max=6)
    parameters.add("offset", value=1, min=-1, max=3)
    return lmfit.minimize(
        function, parameters, args=(x, data), method="emcee", workers=workers, nwalkers=WALKERS, steps=STEPS, seed=3,
        progress=False, run_mcmc_kwargs={"skip_initial_state_check": True},
    )  # fmt: skip


def test_the_chain_is_that_of_one_process(pool: Any, trace: TraceMaker, ran_on_workers: Callable[..., bool]) -> None:
    traced = trace(residual)
    chain = _fit(traced, pool).chain
    assert chain.shape == (STEPS, WALKERS, 2)
    assert (chain == _fit(residual, 1).chain).all()
    # emcee's sampler forgets its pool when it is pickled (its __getstate__ sets `pool` to None in the sampler itself),
    # and here it is pickled as a part of the method that is called: so the pool gets the first step alone.
    pids = [pid for pid in traced.pids() if pid != os.getpid()]
    assert len(pids) == WALKERS
    assert ran_on_workers(pids)
