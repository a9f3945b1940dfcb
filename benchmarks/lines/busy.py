"""Does the pool work while the user's main thread computes?"""

from __future__ import annotations

import time
from collections.abc import Mapping

from benchmarks import tasks
from benchmarks.peers import Pool
from benchmarks.trial import Line, Metric, Trial, expect

TASK_S = 0.0005
LOOKS_EVERY = 10_000    # turns of the loop, about 0.3 ms


def busy_main_thread(trial: Trial) -> Mapping[str, float]:
    """Short tasks while the main thread loops in Python, over the same while it only waits."""
    with trial.pool() as pool:
        _quiet_s(pool, trial.size)    # the pool learns how long these take
        quiet = _quiet_s(pool, trial.size)
        busy = _busy_s(pool, trial.size)
    return {"busy": busy / quiet, "busy_quiet": quiet * 1e3}


def _quiet_s(pool: Pool, count: int) -> float:
    started = time.perf_counter()
    handles = [pool.submit(tasks.sleep, TASK_S) for _ in range(count)]
    values = pool.gather(handles)
    took_s = time.perf_counter() - started
    expect(values, [TASK_S] * count)
    return took_s


def _busy_s(pool: Pool, count: int) -> float:
    started = time.perf_counter()
    handles = [pool.submit(tasks.sleep, TASK_S) for _ in range(count)]
    turns = 0
    while not handles[-1].done():
        for _ in range(LOOKS_EVERY):
            turns += 1
    values = pool.gather(handles)
    took_s = time.perf_counter() - started
    expect(values, [TASK_S] * count)
    return took_s


LINES = (
    Line(
        name="busy",
        metrics=[
            Metric("busy", "x", "2,000 tasks of 0.5 ms, main thread busy over idle"),
            Metric("busy_quiet", "ms", "2,000 tasks of 0.5 ms, main thread idle"),
        ],
        measure=busy_main_thread,
        size=2_000,
        least=2_000,
        quick_size=50,
        only=frozenset({"inside", "apart", "ppe", "loky"}),
    ),
)
