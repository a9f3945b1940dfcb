"""A program that writes a checkpoint until it is killed: `main` with FOLDER FIRST, or FOLDER LIMIT COUNT.

It prints the number of each result that it knows to be written. With a limit, no file may become larger than that:
the same to SQLite as a disk that is full.
"""

import logging
import resource
import signal
import sys

from parsl_pool.memoization.checkpoints import Checkpointer
from parsl_pool.memoization.keys import CallKey, key_of_call


def task(x: int) -> int:
    return x


def key(x: int) -> CallKey:
    return key_of_call(task, (x,), {})


def payload(x: int) -> bytes:
    """What stands for the result: some are longer than a page of the file."""
    return b"%d:" % x * (x % 7 * 500 + 1)


def write(folder: str, first: int) -> None:
    """Results in an endless row, each told of when it is written."""
    writer = Checkpointer("manual", folder, run="writer")
    x = first
    while True:
        for number in range(x, x + 3):
            writer.add(key(number), payload(number))
        writer.checkpoint()
        print(x, x + 1, x + 2, flush=True)
        x += 3


def fill(folder: str, limit_bytes: int, count: int) -> None:
    """As many results as given, on a disk that is too small for them; then, with room, the rest."""
    logging.basicConfig(level="INFO")
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    writer = Checkpointer("task_exit", folder, run="writer")
    hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit_bytes, hard))
    for x in range(count):
        writer.add(key(x), payload(x))
    print("full", flush=True)
    sys.stdin.readline()
    resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
    if sys.stdin.readline():
        writer.close()
    print("closed", flush=True)


def main() -> None:
    if len(sys.argv) == 3:
        write(sys.argv[1], int(sys.argv[2]))
    else:
        fill(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
