"""Large arguments, results and functions."""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Callable, Mapping
from importlib import import_module
from statistics import median

from benchmarks import processes, tasks
from benchmarks.peers import BY_VALUE, Pool
from benchmarks.trial import Line, Metric, Trial, WrongResult, expect

MEGABYTE = 2**20
DISTINCT = 16         # so many different payloads in turn: a pool that remembers the last one gains nothing
REPEATS = 3


def megabyte_in_and_out(trial: Trial) -> Mapping[str, float]:
    """1 MB of bytes in and out, `size` times; each result is let go once it was looked at."""
    blobs = [bytes([number]) + os.urandom(MEGABYTE - 1) for number in range(DISTINCT)]
    with trial.pool() as pool:
        expect(pool.gather([pool.submit(tasks.echo, blob) for blob in blobs]), blobs)
        started = time.perf_counter()
        handles = deque(pool.submit(tasks.echo, blobs[i % DISTINCT]) for i in range(trial.size))
        for i in range(trial.size):
            value = pool.result(handles.popleft())
            if len(value) != MEGABYTE or value[:16] != blobs[i % DISTINCT][:16]:
                raise WrongResult(f"payload {i} came back changed")
        took_s = time.perf_counter() - started
    return {"megabyte": trial.size / took_s}


def array_in_and_out(trial: Trial) -> Mapping[str, float]:
    """A numpy array of `size` MB in and out: the time, and the memory at the peak in copies of it."""
    numpy = import_module("numpy")    # only this line needs it
    array = numpy.arange(trial.size * MEGABYTE // 8, dtype=numpy.float64)
    with trial.pool() as pool:
        small = numpy.arange(8.0)
        expect(pool.result(pool.submit(tasks.echo, small)).tolist(), small.tolist())
        pids = processes.tree(os.getpid())
        rss_before, pss_before = sum(map(processes.rss, pids)), sum(map(processes.pss, pids))
        with processes.sampled(os.getpid()) as peaks:
            value = pool.result(pool.submit(tasks.echo, array))
        if not numpy.array_equal(value, array):
            raise WrongResult("the array came back changed")
        del value
        took_s = [_round_trip_s(pool, array) for _ in range(REPEATS)]
    return {
        "array": median(took_s) * 1e3,
        "array_rss": (peaks.rss - rss_before) / array.nbytes,
        "array_pss": (peaks.pss - pss_before) / array.nbytes,
    }


def _round_trip_s(pool: Pool, value: object) -> float:
    started = time.perf_counter()
    pool.result(pool.submit(tasks.echo, value))
    return time.perf_counter() - started


def closure_many_times(trial: Trial) -> Mapping[str, float]:
    """A function that carries 1 MB, submitted `size` times."""
    function = _closure(os.urandom(MEGABYTE))
    with trial.pool() as pool:
        started = time.perf_counter()
        handles = [pool.submit(function, i) for i in range(trial.size)]
        submitted_s = time.perf_counter() - started
        values = pool.gather(handles)
        took_s = time.perf_counter() - started
        expect(values, [MEGABYTE + i for i in range(trial.size)])
    return {"closure": trial.size / took_s, "closure_submit": trial.size / submitted_s}


def _closure(blob: bytes) -> Callable[[int], int]:
    def size_plus(i: int) -> int:
        tasks.calls[0] += 1
        return len(blob) + i

    return size_plus


LINES = (
    Line(
        name="megabyte",
        metrics=[Metric("megabyte", "tasks/s", "1 MB of bytes in and out", more_is_better=True)],
        measure=megabyte_in_and_out,
        size=200,
        least=100,
        quick_size=20,
    ),
    Line(
        name="array",
        metrics=[
            Metric("array", "ms", "100 MB array in and out"),
            Metric("array_rss", "copies", "100 MB array: growth of all processes' RSS at the peak"),
            Metric("array_pss", "copies", "100 MB array: growth of all processes' PSS at the peak"),
        ],
        measure=array_in_and_out,
        size=100,
        least=100,
        quick_size=4,
    ),
    Line(
        name="closure",
        metrics=[
            Metric("closure", "tasks/s", "1 MB closure 1,000 times, with results", more_is_better=True),
            Metric("closure_submit", "submits/s", "1 MB closure, submit alone", more_is_better=True),
        ],
        measure=closure_many_times,
        size=1_000,
        least=200,
        quick_size=20,
        needs=frozenset({BY_VALUE}),
    ),
)
