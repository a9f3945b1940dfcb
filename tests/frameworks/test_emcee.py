"""emcee's sampler draws the same chain with the pool as without."""

from collections.abc import Callable
from typing import Any

import pytest

from tests.frameworks.conftest import TraceMaker

emcee: Any = pytest.importorskip("emcee", reason="needs emcee (extra 'frameworks')")
numpy: Any = pytest.importorskip("numpy")

WALKERS, DIMENSIONS, STEPS = 10, 3, 60


def log_probability(x: Any) -> float:
    return float(-0.5 * (x * x).sum())


def _chain(function: Any, pool: Any) -> Any:
    random = numpy.random.RandomState(7)
    sampler = emcee.EnsembleSampler(WALKERS, DIMENSIONS, function, pool=pool)
    sampler.random_state = random.get_state()
    sampler.run_mcmc(random.standard_normal((WALKERS, DIMENSIONS)), STEPS)
    return sampler.get_chain()


def test_the_chain_is_that_of_one_process(
    pool: Any, trace: TraceMaker, ran_on_workers: Callable[..., bool]
) -> None:
    traced = trace(log_probability)
    chain = _chain(traced, pool)
    assert (chain == _chain(log_probability, None)).all()
    assert chain.shape == (STEPS, WALKERS, DIMENSIONS)
    assert ran_on_workers(traced.pids())
    assert len(traced.pids()) == WALKERS * (STEPS + 1)
