"""Checkpoints: a run that writes each result, and one that begins where another was killed."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Iterator, Mapping
from importlib import import_module
from pathlib import Path
from random import Random
from typing import Any

from benchmarks import processes, tasks
from benchmarks.peers import CHECKPOINTS
from benchmarks.trial import Line, Metric, Trial, WrongResult, expect

BATCH = 10_000
ASKED = 20_000
RESULTS = 1_000_000
SEED = 7


def each_task(trial: Trial) -> Mapping[str, float]:
    """Make calls whose results all go to a checkpoint, each as soon as it is there."""
    trial.peer.load()
    assert trial.peer.writes is not None
    with tempfile.TemporaryDirectory(prefix="checkpoint-") as folder:
        pool = trial.peer.writes(trial.workers, folder)
        try:
            trial.warm(pool)
            app = pool.remembering(tasks.noop)
            started = time.perf_counter()
            values = pool.gather([app(i) for i in range(trial.size)])
            pool.written()
            took_s = time.perf_counter() - started
        finally:
            pool.close()
        expect(values, list(range(trial.size)))
        trial.check_home()
        kept = sum(path.stat().st_size for path in Path(folder).rglob("checkpoint/*"))
        if kept < trial.size:
            raise WrongResult(f"there are {kept} bytes in the checkpoint, of {trial.size} results")
    return {"checkpoint": trial.size / took_s}


def resume(trial: Trial) -> Mapping[str, float]:
    """Open a checkpoint of `size` results, and make calls whose results are in it."""
    trial.peer.load()
    asked = Random(SEED).sample(range(trial.size), min(ASKED, trial.size))
    with tempfile.TemporaryDirectory(prefix="resume-") as folder:
        written = time.perf_counter()
        path = _write(folder, trial.size)
        write_s = time.perf_counter() - written
        rss_before = processes.rss(os.getpid())
        started = time.perf_counter()
        with _pool(path, trial.workers) as pool:
            view = pool.options(cache=True)
            expect(view.submit(tasks.noop, asked[0]).result(), asked[0])
            first_s = time.perf_counter() - started
            started = time.perf_counter()
            values = [future.result() for future in [view.submit(tasks.noop, i) for i in asked]]
            asked_s = time.perf_counter() - started
            expect(values, asked)
            expect(pool.status().done, 0)    # none of them ran
            grown = processes.rss(os.getpid()) - rss_before
        trial.check_home()
    return {
        "resume_write": write_s * 1e6 / trial.size,
        "resume_first": first_s,
        "resume_hit": asked_s * 1e6 / len(asked),
        "resume_memory": grown / 1e6,
    }


def _pool(path: str, workers: int) -> Any:
    parsl_pool = import_module("parsl_pool")
    executor = parsl_pool.HighThroughputExecutor(max_workers_per_node=workers)
    return parsl_pool.ParslPoolExecutor(parsl_pool.Config([executor], checkpoint_files=[path], run_dir=None))


def _write(folder: str, count: int) -> str:
    """A checkpoint of so many calls, as a run would have left it. The tasks themselves are not run."""
    store = import_module("parsl_pool.memoization.checkpoints").opened_to_write(folder)
    for batch in _batches(count):
        store.write(batch)
    store.close()
    return folder


def _batches(count: int) -> Iterator[list[Any]]:
    key_of_call = import_module("parsl_pool.memoization.keys").key_of_call
    result = import_module("parsl_pool.memoization.rows").Result
    dumped = import_module("parsl_pool.interchange.serialize").dump_value
    for start in range(0, count, BATCH):
        yield [
            result(key_of_call(tasks.noop, (i,), {}, special=()), dumped(i, ""), time.time(), "an earlier run")
            for i in range(start, min(start + BATCH, count))
        ]


LINES = (
    Line(
        name="checkpoint",
        metrics=[Metric("checkpoint", "tasks/s", "each result to a checkpoint", more_is_better=True)],
        measure=each_task,
        size=20_000,
        least=500,
        quick_size=100,
        needs=frozenset({CHECKPOINTS}),
    ),
    Line(
        name="resume",
        metrics=[
            Metric("resume_write", "us", "checkpoint: writing a result"),
            Metric("resume_first", "s", "checkpoint of 1,000,000 results: from its opening to the first known result"),
            Metric("resume_hit", "us", "checkpoint of 1,000,000 results: each of 20,000 known ones"),
            Metric("resume_memory", "MB", "checkpoint of 1,000,000 results: memory after these"),
        ],
        measure=resume,
        size=RESULTS,
        quick_size=2_000,
        only=frozenset({"inside"}),
        most_rounds=1,
        limit_s=600,
        is_rare=True,
    ),
)
