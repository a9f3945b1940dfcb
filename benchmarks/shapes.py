"""Graphs of tasks, as workflows have them: each runs on any pool that takes futures as arguments, in any size."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias

from benchmarks import tasks
from benchmarks.peers import Pool
from benchmarks.trial import expect

WIDTH = 1_000    # of the graph in which each task needs two others
DISTINCT = 1_000    # so many different calls are remembered


class Took(NamedTuple):
    """What a graph has taken."""

    tasks: int
    seconds: float

    @property
    def rate(self) -> float:
        """Tasks a second."""
        return self.tasks / self.seconds

    @property
    def us_a_task(self) -> float:
        """Microseconds for each task."""
        return self.seconds * 1e6 / self.tasks


Shape: TypeAlias = Callable[[Pool, int], Took]


def chain(pool: Pool, size: int) -> Took:
    """Each task needs the one before it."""
    started = time.perf_counter()
    last = pool.submit(tasks.increment, 0)
    for _ in range(size - 1):
        last = pool.submit(tasks.increment, last)
    value = pool.result(last)
    took_s = time.perf_counter() - started
    expect(value, size)
    return Took(size, took_s)


def reducer(pool: Pool, size: int) -> Took:
    """One task needs all the others."""
    started = time.perf_counter()
    numbers = [pool.submit(tasks.increment, i) for i in range(size)]
    value = pool.result(pool.submit(tasks.total, numbers))
    took_s = time.perf_counter() - started
    expect(value, size * (size + 1) // 2)
    return Took(size, took_s)


def tree(pool: Pool, size: int) -> Took:
    """A binary tree over `size` leaves; a task each leaf and each node."""
    started = time.perf_counter()
    level = [pool.submit(tasks.increment, i) for i in range(size)]
    count = len(level)
    while len(level) > 1:
        level = [pool.submit(tasks.add, *level[i : i + 2]) for i in range(0, len(level), 2)]
        count += len(level)
    value = pool.result(level[0])
    took_s = time.perf_counter() - started
    expect(value, size * (size + 1) // 2)
    return Took(count, took_s)


def pairs(pool: Pool, size: int) -> Took:
    """Each task needs two of the row before it, as in a grid that is computed step by step."""
    width = min(WIDTH, max(2, size // 5))
    started = time.perf_counter()
    row = [pool.submit(tasks.increment, 0) for _ in range(width)]
    rows = max(1, size // width)
    for _ in range(rows):
        row = [pool.submit(tasks.add, row[i - 1], row[i]) for i in range(width)]
    values = pool.gather(row)
    took_s = time.perf_counter() - started
    expect(values, [2**rows] * width)
    return Took(width * (rows + 1), took_s)


def fan_out(pool: Pool, size: int) -> Took:
    """A join app that returns the futures of as many tasks."""

    def spread(count: int) -> list[Any]:
        return [pool.submit(tasks.increment, i) for i in range(count)]

    app = pool.join_app(spread)
    started = time.perf_counter()
    values = pool.result(app(size))
    took_s = time.perf_counter() - started
    expect(values, list(range(1, size + 1)))
    return Took(size, took_s)


def nest(pool: Pool, size: int) -> Took:
    """A join app that returns the future of a join app, and so on, as deep as that."""

    def down(depth: int) -> Any:
        return app(depth - 1) if depth else pool.submit(tasks.increment, depth)

    app = pool.join_app(down)
    started = time.perf_counter()
    value = pool.result(app(size))
    took_s = time.perf_counter() - started
    expect(value, 1)
    return Took(size, took_s)


def hits(pool: Pool, size: int) -> Took:
    """Calls that were made before, each of them several times."""
    app = pool.remembering(tasks.noop)
    distinct = min(DISTINCT, size)
    kept = [app(i) for i in range(distinct)]
    expect(pool.gather(kept), list(range(distinct)))
    wanted = [i % distinct for i in range(size)]
    started = time.perf_counter()
    values = pool.gather([app(i) for i in wanted])
    took_s = time.perf_counter() - started
    expect(values, wanted)
    return Took(size, took_s)
