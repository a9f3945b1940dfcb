"""Many tasks waiting: what each costs the client; whether a million come through and leave nothing behind."""

from __future__ import annotations

import gc
import os
import time
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from benchmarks import processes, tasks
from benchmarks.peers import SUBJECTS, Pool
from benchmarks.trial import Line, Metric, Trial, WrongResult, expect

MEGABYTE = 2**20
BACK_WITHIN_S = 15.0
BACK_WITHIN_MB = 50
STEADY_S = 0.5


def queued_tasks(trial: Trial) -> Mapping[str, float]:
    """The client's growth by `size` tasks that wait, and how fast they were submitted."""
    with trial.pool() as pool, _Gate(pool, trial.workers) as gate:
        gc.collect()
        before = processes.rss(os.getpid())
        submit, noop = pool.submit, tasks.noop
        started = time.perf_counter()
        handles = [submit(noop, i) for i in range(trial.size)]
        submitted_s = time.perf_counter() - started
        _wait_steady()
        grown = processes.rss(os.getpid()) - before
        gate.open()
        expect(pool.gather(handles), list(range(trial.size)))
    return {"queued_bytes": grown / trial.size, "submit_alone": trial.size / submitted_s}


def million_tasks(trial: Trial) -> Mapping[str, float]:
    """`size` tasks queued at once: the time to work them off, and what each process keeps afterwards."""
    with trial.pool() as pool:
        before = {pid: processes.rss(pid) for pid in processes.tree(os.getpid())}
        with _Gate(pool, trial.workers) as gate:
            handles: list[Any] = [pool.submit(tasks.noop, i) for i in range(trial.size)]
            started = time.perf_counter()
            gate.open()
            values = pool.gather(handles)
            took_s = time.perf_counter() - started
        if sum(values) != trial.size * (trial.size - 1) // 2:
            raise WrongResult("the sum over all tasks is wrong")
        del handles, values
        gc.collect()
        processes.wait_until(lambda: _most_grown(before) < BACK_WITHIN_MB, BACK_WITHIN_S, every_s=0.2)
        return {"million": trial.size / took_s, "million_left": _most_grown(before)}


def _most_grown(before: Mapping[int, int]) -> float:
    """MB by which the process that grew most is larger than it was."""
    smallest = min(before.values())    # for a process that is new: what it could have begun with
    pids = processes.tree(os.getpid())
    return max(processes.rss(pid) - before.get(pid, smallest) for pid in pids) / MEGABYTE


def _wait_steady() -> None:
    """Return once this process has stopped growing: its other threads pass the tasks on meanwhile."""
    last, since = processes.rss(os.getpid()), time.monotonic()
    while time.monotonic() - since < STEADY_S:
        time.sleep(0.05)
        now = processes.rss(os.getpid())
        if now != last:
            last, since = now, time.monotonic()


class _Gate:
    """Keeps all workers of a pool busy until it is opened."""

    def __init__(self, pool: Pool, workers: int) -> None:
        self._pool = pool
        self._directory = TemporaryDirectory()
        self._path = Path(self._directory.name, "open")
        self._blockers = [pool.submit(tasks.hold, str(self._path)) for _ in range(workers)]

    def __enter__(self) -> _Gate:
        time.sleep(0.2)    # the blockers shall be on their workers before anything else comes
        return self

    def open(self) -> None:
        """Let the workers go on."""
        self._path.touch()

    def __exit__(self, *_: object) -> None:
        self.open()
        expect(self._pool.gather(self._blockers), [True] * len(self._blockers))
        self._directory.cleanup()


LINES = (
    Line(
        name="queued",
        metrics=[
            Metric("queued_bytes", "bytes", "client memory a queued task"),
            Metric("submit_alone", "submits/s", "submit alone, all workers busy", more_is_better=True),
        ],
        measure=queued_tasks,
        size=100_000,
        least=20_000,
        quick_size=500,
        only=frozenset({"inside", "apart", "ppe", "mp-pool", "loky"}),
    ),
    Line(
        name="million",
        metrics=[
            Metric("million", "tasks/s", "1,000,000 queued at once, then worked off", more_is_better=True),
            Metric("million_left", "MB", "1,000,000 tasks: the most that a process keeps afterwards"),
        ],
        measure=million_tasks,
        size=1_000_000,
        quick_size=2_000,
        only=frozenset(SUBJECTS),
        most_rounds=3,
    ),
)
