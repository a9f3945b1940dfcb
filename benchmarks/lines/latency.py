"""How long one call takes when there is nothing else to do."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from statistics import median

from benchmarks import processes, tasks
from benchmarks.trial import Line, Metric, Trial, expect, percentile


def one_at_a_time(trial: Trial) -> Mapping[str, float]:
    """Submit, wait for the result, again."""
    took_us: list[float] = []
    with trial.pool() as pool:
        submit, result, noop = pool.submit, pool.result, tasks.noop
        pids = processes.tree(os.getpid())
        before = processes.usage(pids)
        for i in range(trial.size):
            started = time.perf_counter()
            value = result(submit(noop, i))
            took_us.append((time.perf_counter() - started) * 1e6)
            expect(value, i)
        used = processes.usage(pids) - before
    middle, slow = median(took_us), percentile(took_us, 0.99)
    return {
        "latency_median": middle,
        "latency_p99": slow,
        "latency_spread": slow / middle,
        "latency_cpu": used.cpu_s * 1e6 / trial.size,
        "latency_switches": used.switches / trial.size,
    }


LINES = (
    Line(
        name="latency",
        metrics=[
            Metric("latency_median", "us", "submit and result, one at a time, median"),
            Metric("latency_p99", "us", "submit and result, one at a time, 99th percentile"),
            Metric("latency_spread", "x", "99th percentile over median"),
            # These hardly depend on what else the machine does.
            Metric("latency_cpu", "us", "submit and result, CPU of all processes a call"),
            Metric("latency_switches", "", "submit and result, context switches a call"),
        ],
        measure=one_at_a_time,
        size=2_000,
        least=500,
        quick_size=100,
    ),
)
