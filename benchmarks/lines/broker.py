"""The broker's own price of a task: it must not depend on how many managers there are, nor on what waits.

Only the decisions are measured (the class that has no sockets), so a thousand managers fit into one process.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Mapping
from importlib import import_module
from struct import pack
from typing import Any

from benchmarks.trial import Line, Metric, Trial, expect

FRAME = 256      # tasks a frame, as the client sends them
REPORT = 16      # results a frame
WINDOW = 64      # tasks that a manager wants to hold
MANAGERS = (1, 10, 100, 1_000)
WAITING = (0, 1_000, 1_000_000)
GRID = [(managers, waiting) for managers in MANAGERS for waiting in WAITING]


class Cluster:
    """Managers that answer every task in the order in which they got them, 16 results at a time."""

    def __init__(self, managers: int) -> None:
        self._columns = import_module("parsl_pool.interchange.columns")
        broker = import_module("parsl_pool.interchange.broker")
        self._send, self._deliver = broker.SendTasks, broker.Deliver
        self.broker = broker.Broker()
        self._held: dict[str, deque[bytes]] = {f"manager-{i}": deque() for i in range(managers)}
        self._busy: deque[str] = deque()    # managers with enough to report
        self._next = 1
        self.done = 0
        for name in self._held:
            self.broker.manager_registered(name, [])
            self.broker.window_set(name, WINDOW, WINDOW // 4)

    def submit(self, count: int) -> None:
        """The client sends this many tasks."""
        for start in range(0, count, FRAME):
            size = min(FRAME, count - start)
            ids = pack(f"<{size}Q", *range(self._next, self._next + size))
            self._next += size
            columns = pack("<I", 1) * size, pack("<I", 8) * size, bytes(8 * size)
            self._perform(self.broker.tasks_submitted(self._columns.Tasks(0, 0, size, ids, *columns)))

    def work(self, count: int) -> None:
        """Finish this many tasks, submitting as many new ones."""
        target = self.done + count
        owed = 0
        while self.done < target:
            name = self._busy.popleft()
            held = self._held[name]
            ids = b"".join([held.popleft() for _ in range(min(REPORT, len(held)))])
            size = len(ids) // 8
            self._perform(self.broker.results_arrived(name, self._columns.Results(size, ids, bytes(13 * size))))
            if held:
                self._busy.append(name)
            owed += size
            if owed >= min(FRAME, len(self._held) * WINDOW // 2):    # before the managers have run dry
                self.submit(owed)
                owed = 0

    def _perform(self, effects: list[Any]) -> None:
        for effect in effects:
            if type(effect) is self._send:
                held = self._held[effect.manager]
                if not held:
                    self._busy.append(effect.manager)
                ids = effect.tasks.ids
                held.extend([ids[i : i + 8] for i in range(0, len(ids), 8)])
            elif type(effect) is self._deliver:
                self.done += effect.results.count


def cost_of_matching(trial: Trial) -> Mapping[str, float]:
    """Microseconds a task (the simulation's own included), over a grid of managers and waiting tasks."""
    grid = {point: _cost_us(*point, trial.size) for point in GRID}
    answer = {f"broker_{managers}_{waiting}": us for (managers, waiting), us in grid.items()}
    base = grid[1, 0]
    return answer | {"broker_growth": max(grid.values()) / base}


def _cost_us(managers: int, waiting: int, count: int) -> float:
    cluster = Cluster(managers)
    cluster.submit(managers * WINDOW + waiting)
    cluster.work(min(count, 4 * FRAME))    # past the start, at which all are empty
    before = cluster.broker.waiting
    finished = cluster.done
    started = time.perf_counter()
    cluster.work(count)
    took_s = time.perf_counter() - started
    expect(abs(cluster.broker.waiting - before) <= 2 * FRAME, True)    # as much waited all the time
    return took_s * 1e6 / (cluster.done - finished)


LINES = (
    Line(
        name="broker",
        metrics=[
            *(
                Metric(f"broker_{managers}_{waiting}", "us", f"broker: {managers:,} managers, {waiting:,} tasks wait")
                for managers, waiting in GRID
            ),
            Metric("broker_growth", "x", "broker: the dearest of these over the first"),
        ],
        measure=cost_of_matching,
        size=100_000,
        quick_size=2_000,
        only=frozenset({"inside"}),
    ),
)
