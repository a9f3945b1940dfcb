"""Futures as arguments: a chain, a reducer, a tree."""

from __future__ import annotations

import time
from collections.abc import Mapping

from benchmarks import tasks
from benchmarks.peers import DATAFLOW
from benchmarks.trial import Line, Metric, Trial, expect


def chain(trial: Trial) -> Mapping[str, float]:
    """Each task needs the one before it."""
    with trial.pool() as pool:
        started = time.perf_counter()
        last = pool.submit(tasks.increment, 0)
        for _ in range(trial.size - 1):
            last = pool.submit(tasks.increment, last)
        value = pool.result(last)
        took_s = time.perf_counter() - started
        expect(value, trial.size)
    return {"chain": trial.size / took_s}


def many_into_one(trial: Trial) -> Mapping[str, float]:
    """One task needs all the others."""
    with trial.pool() as pool:
        started = time.perf_counter()
        numbers = [pool.submit(tasks.increment, i) for i in range(trial.size)]
        value = pool.result(pool.submit(tasks.total, numbers))
        took_s = time.perf_counter() - started
        expect(value, trial.size * (trial.size + 1) // 2)
    return {"reducer": took_s * 1e3}


def tree(trial: Trial) -> Mapping[str, float]:
    """A binary tree over `size` leaves; a task each leaf and each node."""
    with trial.pool() as pool:
        started = time.perf_counter()
        level = [pool.submit(tasks.increment, i) for i in range(trial.size)]
        count = len(level)
        while len(level) > 1:
            level = [pool.submit(tasks.add, *level[i : i + 2]) for i in range(0, len(level), 2)]
            count += len(level)
        value = pool.result(level[0])
        took_s = time.perf_counter() - started
        expect(value, trial.size * (trial.size + 1) // 2)
    return {"tree": count / took_s}


LINES = (
    Line(
        name="chain",
        metrics=[Metric("chain", "tasks/s", "chain of 1,000", more_is_better=True)],
        measure=chain,
        size=1_000,
        least=1_000,
        quick_size=50,
        needs=frozenset({DATAFLOW}),
    ),
    Line(
        name="reducer",
        metrics=[Metric("reducer", "ms", "10,000 into one")],
        measure=many_into_one,
        size=10_000,
        least=10_000,
        quick_size=200,
        needs=frozenset({DATAFLOW}),
        most_rounds=5,
    ),
    Line(
        name="tree",
        metrics=[Metric("tree", "tasks/s", "tree over 4,096 leaves", more_is_better=True)],
        measure=tree,
        size=4_096,
        least=512,
        quick_size=64,
        needs=frozenset({DATAFLOW}),
    ),
)
