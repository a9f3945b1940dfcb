"""Futures as arguments: a chain, a reducer, a tree, a grid. Join apps, and calls that were made before."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from benchmarks import shapes
from benchmarks.peers import DATAFLOW, JOINS, MEMORY
from benchmarks.trial import Line, Metric, Trial


def _rate(name: str, shape: shapes.Shape) -> Callable[[Trial], Mapping[str, float]]:
    def measure(trial: Trial) -> Mapping[str, float]:
        with trial.pool() as pool:
            return {name: shape(pool, trial.size).rate}

    return measure


def _many_into_one(trial: Trial) -> Mapping[str, float]:
    with trial.pool() as pool:
        return {"reducer": shapes.reducer(pool, trial.size).seconds * 1e3}


def _per_second(name: str, title: str) -> list[Metric]:
    return [Metric(name, "tasks/s", title, more_is_better=True)]


LINES = (
    Line(
        name="chain",
        metrics=_per_second("chain", "chain of 1,000"),
        measure=_rate("chain", shapes.chain),
        size=1_000,
        least=1_000,
        quick_size=50,
        needs=frozenset({DATAFLOW}),
    ),
    Line(
        name="reducer",
        metrics=[Metric("reducer", "ms", "10,000 into one")],
        measure=_many_into_one,
        size=10_000,
        least=10_000,
        quick_size=200,
        needs=frozenset({DATAFLOW}),
        most_rounds=5,
    ),
    Line(
        name="tree",
        metrics=_per_second("tree", "tree over 4,096 leaves"),
        measure=_rate("tree", shapes.tree),
        size=4_096,
        least=512,
        quick_size=64,
        needs=frozenset({DATAFLOW}),
    ),
    Line(
        name="pairs",
        metrics=_per_second("pairs", "100,000 tasks which need two others each"),
        measure=_rate("pairs", shapes.pairs),
        size=100_000,
        least=2_000,
        quick_size=100,
        needs=frozenset({DATAFLOW}),
    ),
    Line(
        name="fanout",
        metrics=_per_second("fanout", "a join app that returns 10,000 futures"),
        measure=_rate("fanout", shapes.fan_out),
        size=10_000,
        least=1_000,
        quick_size=100,
        needs=frozenset({JOINS}),
    ),
    Line(
        name="hits",
        metrics=_per_second("hits", "100,000 calls that were made before"),
        measure=_rate("hits", shapes.hits),
        size=100_000,
        least=2_000,
        quick_size=100,
        needs=frozenset({MEMORY}),
    ),
)
