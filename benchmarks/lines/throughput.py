"""How many small tasks a second: submitted one by one, and by map."""

from __future__ import annotations

import time
from collections.abc import Mapping

from benchmarks import tasks
from benchmarks.peers import CHUNKS
from benchmarks.trial import Line, Metric, Trial, expect


def submit_and_gather(trial: Trial) -> Mapping[str, float]:
    """Submit one by one, then gather all in order."""
    with trial.pool() as pool:
        submit, noop, count = pool.submit, tasks.noop, trial.size
        started = time.perf_counter()
        handles = [submit(noop, i) for i in range(count)]
        values = pool.gather(handles)
        took_s = time.perf_counter() - started
        expect(values, list(range(count)))
    return {"submit": count / took_s}


def _map(trial: Trial, chunksize: int, metric: str) -> Mapping[str, float]:
    with trial.pool() as pool:
        count = trial.size
        started = time.perf_counter()
        values = list(pool.map(tasks.noop, range(count), chunksize))
        took_s = time.perf_counter() - started
        expect(values, list(range(count)))
    return {metric: count / took_s}


def map_singly(trial: Trial) -> Mapping[str, float]:
    """map, each item a task of its own."""
    return _map(trial, 1, "map1")


def map_in_chunks(trial: Trial) -> Mapping[str, float]:
    """map, 100 items a task."""
    return _map(trial, 100, "map100")


LINES = (
    Line(
        name="submit",
        metrics=[Metric("submit", "tasks/s", "submit one by one, then gather", more_is_better=True)],
        measure=submit_and_gather,
        size=100_000,
        least=1_000,
        quick_size=500,
    ),
    Line(
        name="map1",
        metrics=[Metric("map1", "items/s", "map, chunksize 1", more_is_better=True)],
        measure=map_singly,
        size=100_000,
        least=1_000,
        quick_size=500,
    ),
    Line(
        name="map100",
        metrics=[Metric("map100", "items/s", "map, chunksize 100", more_is_better=True)],
        measure=map_in_chunks,
        size=1_000_000,
        least=1_000_000,    # all of these are fast at it
        quick_size=5_000,
        needs=frozenset({CHUNKS}),
    ),
)
