"""adaptive takes executors of classes that it knows: ours is one, by descent."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from tests.frameworks.conftest import WORKERS, TraceMaker

adaptive: Any = pytest.importorskip("adaptive", reason="needs adaptive (extra 'frameworks')")

POINTS = 60


def peak(x: float) -> float:
    return x + 0.01 / (0.01 + x * x)


def _is_done(learner: Any) -> bool:
    return bool(learner.npoints >= POINTS)


def test_a_blocking_runner(pool: Any, trace: TraceMaker, ran_on_workers: Callable[..., bool]) -> None:
    traced = trace(peak)
    learner = adaptive.Learner1D(traced, bounds=(-1, 1))
    adaptive.BlockingRunner(learner, goal=_is_done, executor=pool)
    assert learner.npoints >= POINTS
    assert all(value == peak(x) for x, value in learner.data.items())
    assert ran_on_workers(traced.pids())


def test_a_runner_in_a_loop_keeps_the_workers_busy_and_the_pool_open(
    pool: Any, trace: TraceMaker, ran_on_workers: Callable[..., bool]
) -> None:
    traced = trace(peak)

    async def learn() -> Any:
        learner = adaptive.Learner1D(traced, bounds=(-1, 1))
        runner = adaptive.Runner(learner, goal=_is_done, executor=pool)
        assert runner._get_max_tasks() == WORKERS
        await runner.task
        return learner

    learner = asyncio.run(learn())
    assert all(value == peak(x) for x, value in learner.data.items())
    assert ran_on_workers(traced.pids())
    assert pool.submit(peak, 0.0).result() == 1.0


def broken(x: float) -> float:
    raise ZeroDivisionError("in the user's function")


def test_an_error_of_the_function_stops_the_runner(pool: Any) -> None:
    learner = adaptive.Learner1D(broken, bounds=(-1, 1))
    with pytest.raises(RuntimeError, match=r"learner\.function") as caught:
        adaptive.BlockingRunner(learner, goal=_is_done, executor=pool)
    assert isinstance(caught.value.__cause__, ZeroDivisionError)
