"""What the layers above an executor add to a task, in CPU time of the client."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from statistics import median
from typing import Any

from benchmarks import tasks
from benchmarks.trial import Line, Metric, Trial, expect

ROUNDS = 7


def kernel_overhead(trial: Trial) -> Mapping[str, float]:
    """The same tasks by the executor itself, by the pool's submit, by an app, by a view with options."""
    with trial.pool() as pool:
        ways = _ways(pool)
        costs: dict[str, list[float]] = {name: [] for name in ways}
        for number in range(ROUNDS):
            names = list(ways)[number % len(ways) :] + list(ways)[: number % len(ways)]
            for name in names:    # in turn: what else the machine does falls on all of them
                costs[name].append(_cost_us(ways[name], trial.size))
    bare = median(costs["executor"])
    added = {
        f"overhead_{name}": median(
            cost - base for cost, base in zip(costs[name], costs["executor"])
        )
        for name in ways if name != "executor"
    }    # fmt: skip
    return {"cost_executor": bare} | added


def _ways(pool: Any) -> dict[str, Callable[[int], Any]]:
    executor = pool.executor
    backend = next(iter(executor.executors.values()))
    app, noop = pool.app(tasks.noop), tasks.noop
    view = executor.options(retries=1)
    return {
        "executor": lambda i: backend.call(noop, (i,), {}, None),
        "submit": lambda i: executor.submit(noop, i),
        "app": lambda i: app(i),
        "options": lambda i: view.submit(noop, i),
    }


def _cost_us(call: Callable[[int], Any], count: int) -> float:
    started = time.process_time()
    futures = [call(i) for i in range(count)]
    values = [future.result() for future in futures]
    took_s = time.process_time() - started
    expect(values, list(range(count)))
    return took_s * 1e6 / count


LINES = (
    Line(
        name="overhead",
        metrics=[
            Metric("cost_executor", "us", "CPU of the client a task, by the executor itself"),
            Metric("overhead_submit", "us", "more than that: by the pool's submit"),
            Metric("overhead_app", "us", "more than that: by an app"),
            Metric("overhead_options", "us", "more than that: by a view with options"),
        ],
        measure=kernel_overhead,
        size=10_000,
        quick_size=200,
        only=frozenset({"inside"}),
        most_rounds=3,
    ),
)
