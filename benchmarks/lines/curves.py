"""Each graph in three sizes, four times as many tasks each time: what a task costs must not grow with them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from statistics import median
from typing import NamedTuple

from benchmarks import shapes
from benchmarks.trial import Line, Metric, Trial

STEPS = (16, 4, 1)    # the largest size is so many times the others
REPEATS = (3, 3, 1)    # what is over soon is taken several times


class Curve(NamedTuple):
    """A graph, and the largest size of it."""

    name: str
    title: str
    shape: shapes.Shape
    size: int


CURVES = (
    Curve("chain", "chain", shapes.chain, 4_000),
    Curve("reducer", "many into one", shapes.reducer, 40_000),
    Curve("tree", "tree over leaves", shapes.tree, 16_384),
    Curve("pairs", "tasks that need two others", shapes.pairs, 100_000),
    Curve("fanout", "join app with futures", shapes.fan_out, 40_000),
    Curve("nest", "join apps inside of one another", shapes.nest, 4_000),
    Curve("hits", "calls that were made before", shapes.hits, 100_000),
)


def _measuring(curve: Curve) -> Callable[[Trial], Mapping[str, float]]:
    def measure(trial: Trial) -> Mapping[str, float]:
        with trial.pool() as pool:
            costs = [
                median(curve.shape(pool, max(16, trial.size // step)).us_a_task for _ in range(repeats))
                for step, repeats in zip(STEPS, REPEATS)
            ]
        return dict(zip(_names(curve), [*costs, costs[-1] / costs[0]]))

    return measure


def _names(curve: Curve) -> list[str]:
    return [*(f"{curve.name}_us_{step}" for step in STEPS), f"{curve.name}_growth"]


def _metrics(curve: Curve) -> list[Metric]:
    titles = [f"{curve.title}, {curve.size // step:,}: a task" for step in STEPS]
    growth = f"{curve.title}: a task at the largest size over one at the smallest"
    units = ["us"] * len(STEPS) + ["x"]
    return [Metric(*figure) for figure in zip(_names(curve), units, [*titles, growth])]


LINES = tuple(
    Line(
        name=f"{curve.name}-curve",
        metrics=_metrics(curve),
        measure=_measuring(curve),
        size=curve.size,
        quick_size=256,
        only=frozenset({"inside"}),
        most_rounds=3,
    )
    for curve in CURVES
)
