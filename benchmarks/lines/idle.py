"""What a pool of eight costs while it does nothing."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping

from benchmarks import processes
from benchmarks.trial import Line, Metric, Trial

WORKERS = 8
SETTLE_S = 2.0
TICK_S = 0.01  # of CPU time: whole ones count, whichever of the processes used them
MEGABYTE = 2**20


def eight_idle_workers(trial: Trial) -> Mapping[str, float]:
    """CPU and memory of all processes, the client's too, over `size` seconds without a task."""
    trial.workers = WORKERS
    with trial.pool():
        time.sleep(SETTLE_S if not trial.quick else 0.1)
        pids = processes.tree(os.getpid())
        used = processes.usage_from_outside(os.getpid(), trial.size)
        return {
            "idle_ticks": used.cpu_s // TICK_S,
            "idle_cpu": used.cpu_s * 1e3,
            "idle_switches": used.switches,
            "processes": len(pids),
            "rss": sum(map(processes.rss, pids)) / MEGABYTE,
            "pss": sum(map(processes.pss, pids)) / MEGABYTE,
        }


LINES = (
    Line(
        name="idle",
        metrics=[
            Metric("idle_ticks", "ticks", "8 idle workers: whole ticks (10 ms) of CPU of all processes in 10 s"),
            Metric("idle_cpu", "ms", "8 idle workers: CPU time of all processes in 10 s"),
            Metric("idle_switches", "", "8 idle workers: context switches of all processes in 10 s"),
            Metric("processes", "", "8 idle workers: processes, the client included"),
            Metric("rss", "MB", "8 idle workers: RSS of all processes"),
            Metric("pss", "MB", "8 idle workers: PSS of all processes"),
        ],
        measure=eight_idle_workers,
        size=10,
        least=10,
        quick_size=1,
        only=frozenset({"inside", "apart", "ppe"}),
        most_rounds=3,
    ),
)
