"""One large object that many tasks use: `put` once, by shared memory.

Held against the bare thing: one process writes the bytes into shared memory, and that is all.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks import processes, tasks
from benchmarks.trial import Line, Metric, Trial, WrongResult, expect

MEGABYTE = 2**20
TASKS = 1_000
REPEATS = 3


def one_object_for_many_tasks(trial: Trial) -> Mapping[str, float]:
    """An array of `size` MB, used by 1,000 tasks."""
    numpy = import_module("numpy")  # only this line needs it
    array = numpy.random.default_rng(1).random(trial.size * MEGABYTE // 8)
    digest = hashlib.sha256(array).hexdigest()
    with trial.pool() as pool:
        executor: Any = getattr(pool, "executor")  # noqa: B009  # ours alone can put
        pids = processes.tree(os.getpid())
        before, written = sum(map(processes.pss, pids)), _written(pids)
        with processes.sampled(os.getpid()) as peaks:
            ref = executor.put(array)
            expect(pool.result(pool.submit(tasks.digest, ref)), digest)
            started = time.perf_counter()
            sums = set(pool.gather([pool.submit(tasks.sample, ref) for _ in range(TASKS)]))
            took_s = time.perf_counter() - started
        expect(sums, {tasks.sample(array)})
        tasks.calls[0] = 0  # that one was ours
        written = _written(pids) - written
        ref.free()
        firsts, bare = [], []
        for number in range(REPEATS):
            array[0] = number  # another object: one of the same bytes would be found
            bare.append(_written_bare(array))
            started = time.perf_counter()
            other = executor.put(array)
            expect(pool.result(pool.submit(tasks.first, other)), float(number))
            firsts.append(time.perf_counter() - started)
            other.free()
    return {
        "object_first": median(firsts) / median(bare),
        "object_tasks": TASKS / took_s,
        "object_memory": 1 + (peaks.pss - before) / array.nbytes,
        "object_written": written / array.nbytes,
    }


def _written_bare(array: Any) -> float:
    """Seconds that the bytes take to shared memory."""
    started = time.perf_counter()
    fd = os.memfd_create("bare")
    try:
        left = memoryview(array).cast("B")
        while left:  # faster than by a map: no page has to be found missing
            left = left[os.write(fd, left) :]
        took_s = time.perf_counter() - started
        if os.pread(fd, 8, array.nbytes - 8) != array[-1:].tobytes():
            raise WrongResult("the bare copy is none")
    finally:
        os.close(fd)
    return took_s


def _written(pids: list[int]) -> int:
    """Bytes that these processes have written to files, sockets and memory so far, by system calls."""
    total = 0
    for pid in pids:
        for line in Path(f"/proc/{pid}/io").read_text().splitlines():
            if line.startswith("wchar:"):
                total += int(line.split()[1])
    return total


LINES = (
    Line(
        name="object",
        metrics=[
            Metric("object_first", "x", "500 MB put, and seen by the first task, over a bare copy to shared memory"),
            Metric("object_tasks", "tasks/s", "1,000 tasks that use an object of 500 MB", more_is_better=True),
            Metric("object_memory", "copies", "500 MB object: PSS of all processes at the peak, with the client's own"),
            Metric("object_written", "copies", "500 MB object: bytes that all processes write for the 1,000 tasks"),
        ],
        measure=one_object_for_many_tasks,
        size=500,
        least=500,
        quick_size=4,
        only=frozenset({"inside", "apart"}),
    ),
)
