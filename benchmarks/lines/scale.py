"""A thousand managers and more: real blocks, connections and messages, and nodes that only let time go by.

What the nodes cost is on the same machine as what is measured. So rates are held against that of one made-up node.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from functools import partial
from importlib import import_module
from typing import Any

from benchmarks import processes
from benchmarks.trial import Line, Metric, Trial, expect

NODE_WORKERS = 10
TASKS = 100_000
IDLE_S = 15.0  # three heartbeats, after which the interchange has given back what it does not need
KILOBYTE = 1 << 10


def _scale(name: str, trial: Trial) -> Mapping[str, float]:
    """Start `size` managers, give them tasks, and let them idle; and one manager, for comparison."""
    tasks = TASKS if not trial.quick else 1_000
    alone = _measure(1, tasks, 0.1)
    many = _measure(trial.size, tasks, IDLE_S if not trial.quick else 0.1)
    more = max(1, trial.size - 1)
    return {
        f"{name}_registered": many["registered_s"],
        f"{name}_rate": many["rate"],
        f"{name}_share": many["rate"] / alone["rate"],
        f"{name}_beats": 100 * many["idle_cpu_s"] / many["idle_s"],
        f"{name}_memory": (many["rss"] - alone["rss"]) / more / KILOBYTE,
        f"{name}_memory_after": (many["rss_after"] - alone["rss_after"]) / more / KILOBYTE,
        f"{name}_descriptors": (many["descriptors"] - alone["descriptors"]) / more,
    }


def _measure(managers: int, tasks: int, idle_s: float) -> dict[str, float]:
    last = import_module("parsl_pool.simulation").last
    started = time.perf_counter()
    with _pool(managers) as pool:
        expect(pool.submit(last, 0.0, "first").result(), "first")
        while len(pool.status().managers) < managers:
            time.sleep(0.05)
        registered_s = time.perf_counter() - started
        broker = pool._backend.link._process.pid
        time.sleep(idle_s)
        rss = processes.rss(broker)
        expect(list(pool.map(last, [0.0] * 20 * managers, range(20 * managers))), list(range(20 * managers)))
        begun = time.perf_counter()
        results = [future.result() for future in [pool.submit(last, 0.0, number) for number in range(tasks)]]
        rate = tasks / (time.perf_counter() - begun)
        expect(results, list(range(tasks)))
        before, begun = processes.usage([broker]), time.perf_counter()
        time.sleep(idle_s)
        return {
            "registered_s": registered_s,
            "rate": rate,
            "idle_cpu_s": (processes.usage([broker]) - before).cpu_s,
            "idle_s": time.perf_counter() - begun,
            "rss": rss,
            "rss_after": processes.rss(broker),
            "descriptors": len(os.listdir(f"/proc/{broker}/fd")),
        }


def _pool(managers: int) -> Any:
    parsl_pool, providers = import_module("parsl_pool"), import_module("parsl_pool.providers")
    provider = providers.SimulatedProvider(nodes=managers, init_blocks=managers, max_blocks=managers)
    executor = parsl_pool.HighThroughputExecutor(provider=provider, max_workers_per_node=NODE_WORKERS)
    return parsl_pool.ParslPoolExecutor(parsl_pool.Config([executor], run_dir=None))


def _line(managers: int, **options: Any) -> Line:
    name, who = f"scale{managers}", f"{managers:,} made-up managers"
    return Line(
        name=f"scale-{managers}",
        metrics=[
            Metric(f"{name}_registered", "s", f"{who}: from the first submit until all have registered"),
            Metric(f"{name}_rate", "tasks/s", f"{who}: submit one by one, then gather", more_is_better=True),
            Metric(f"{name}_share", "x", f"{who}: that, over the rate with one", more_is_better=True),
            Metric(f"{name}_beats", "%", f"{who}, idle: the interchange's part of a core"),
            Metric(f"{name}_memory", "kB", f"{who}: the interchange's memory once they have registered, each"),
            Metric(f"{name}_memory_after", "kB", f"{who}: the same after the tasks, each"),
            Metric(f"{name}_descriptors", "", f"{who}: the interchange's descriptors, each"),
        ],
        measure=partial(_scale, name),
        size=managers,
        quick_size=3,
        only=frozenset({"apart"}),
        most_rounds=3,
        limit_s=600,
        is_rare=True,
        **options,
    )


LINES = (_line(1_000), _line(8_000))
