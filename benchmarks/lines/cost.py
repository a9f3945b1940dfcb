"""Where the CPU time of a small task goes: client, what is between, workers."""

from __future__ import annotations

import os
from collections.abc import Mapping

from benchmarks import processes, tasks
from benchmarks.trial import Line, Metric, Trial, expect


def cpu_of_a_task(trial: Trial) -> Mapping[str, float]:
    """CPU microseconds and context switches a task, by who spent them."""
    with trial.pool() as pool:
        client = [os.getpid()]
        workers = sorted(trial.worker_pids)
        between = [pid for pid in processes.tree(os.getpid()) if pid not in {*client, *workers}]
        groups = {"client": client, "between": between, "workers": workers}
        before = {name: processes.usage(pids) for name, pids in groups.items()}
        count = trial.size
        values = pool.gather([pool.submit(tasks.noop, i) for i in range(count)])
        used = {name: processes.usage(pids) - before[name] for name, pids in groups.items()}
        expect(values, list(range(count)))
    answer = {f"cpu_{name}": usage.cpu_s * 1e6 / count for name, usage in used.items()}
    return answer | {"switches": sum(usage.switches for usage in used.values()) / count}


LINES = (
    Line(
        name="cost",
        metrics=[
            Metric("cpu_client", "us", "CPU a small task, client"),
            Metric("cpu_between", "us", "CPU a small task, between client and workers"),
            Metric("cpu_workers", "us", "CPU a small task, workers"),
            Metric("switches", "", "context switches a small task, all processes"),
        ],
        measure=cpu_of_a_task,
        size=100_000,
        least=1_000,
        quick_size=500,
    ),
)
