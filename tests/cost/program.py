"""A program that uses a pool and says how large its processes are: `python -m tests.cost.program`.

It reads one command a line, and answers each by one line of JSON.

    queue N     queue N tasks behind a gate, and wait until the interchange has them: {pid: bytes}
    finish      open the gate, take all results, and let go of them:                   {pid: bytes}
    idle        nothing: {pid: bytes}
"""

import gc
import json
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks import processes
from parsl_pool import ParslPoolExecutor


def noop(number: int) -> int:
    return number


def wait_for(gate: str) -> None:
    while not os.path.exists(gate):
        time.sleep(0.01)


def sizes() -> dict[int, int]:
    return {pid: processes.rss(pid) for pid in processes.tree(os.getpid())}


def commands() -> Iterator[list[str]]:
    for line in sys.stdin:
        yield line.split()


def main(workers: int, manager_inside: bool) -> None:
    futures: list[Any] = []
    with (
        tempfile.TemporaryDirectory() as folder,
        ParslPoolExecutor(workers, manager_inside=manager_inside) as pool,
    ):
        gate = Path(folder, "gate")
        holders = [pool.submit(wait_for, str(gate)) for _ in range(workers)]
        while not all(holder.running() for holder in holders):
            time.sleep(0.01)
        gc.collect()
        for name, *arguments in commands():
            if name == "queue":
                futures += map(pool.submit, [noop] * int(arguments[0]), range(int(arguments[0])))
                pool.status()  # answered after all that was queued before
            elif name == "finish":
                gate.touch()
                assert sum(future.result() for future in futures) == len(futures) * (len(futures) - 1) // 2
                futures.clear()
                gc.collect()
            print(json.dumps(sizes()), flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2] == "inside")
