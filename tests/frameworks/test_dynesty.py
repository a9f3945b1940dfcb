"""dynesty asks the pool for its `size`."""

from collections.abc import Callable
from typing import Any

import pytest

from tests.frameworks.conftest import STDLIB, TraceMaker

dynesty: Any = pytest.importorskip("dynesty", reason="needs dynesty")
numpy: Any = pytest.importorskip("numpy")


def log_likelihood(x: Any) -> float:
    return float(-0.5 * (x * x).sum())


def prior(u: Any) -> Any:
    return 10 * u - 5


def test_a_run_on_the_pool(pool: Any, trace: TraceMaker, ran_on_workers: Callable[..., bool]) -> None:
    traced = trace(log_likelihood)
    options = {"queue_size": 2} if STDLIB else {}  # ProcessPoolExecutor has no size
    sampler = dynesty.NestedSampler(
        traced, prior, 2, nlive=60, pool=pool, rstate=numpy.random.default_rng(3), **options
    )
    sampler.run_nested(dlogz=1.0, print_progress=False)
    exact = numpy.log(2 * numpy.pi / 100)
    assert sampler.results.logz[-1] == pytest.approx(exact, abs=1.5)
    assert ran_on_workers(traced.pids())
