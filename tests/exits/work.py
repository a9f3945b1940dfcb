"""Tasks of the scripts."""

import os
import sys
import time
from pathlib import Path

__all__ = ["about_module", "append", "hold", "note_after", "ready_file", "triple", "wait_for"]


def triple(value: int) -> int:
    return value * 3


def append(path: str, task: int) -> int:
    """Note that this task has begun: one line, by one write, whoever else writes."""
    fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    os.write(fd, b"%d\n" % task)
    os.close(fd)
    return task


def hold(path: str, seconds: float = 1000) -> int:
    """Say that it runs, and go on for a long time."""
    Path(path).touch()
    time.sleep(seconds)
    return os.getpid()


def note_after(path: str, seconds: float) -> int:
    """Leave a file, but not at once."""
    time.sleep(seconds)
    Path(path).touch()
    return 1


def wait_for(path: str, within: float = 30) -> None:
    """Until a task has begun: it says so by a file."""
    end = time.monotonic() + within
    while not os.path.exists(path):
        if time.monotonic() > end:
            raise TimeoutError(path)
        time.sleep(0.002)


def ready_file() -> str:
    """A new name for such a file, away from the temporary directory, which is to be empty at the end."""
    return os.path.join(os.environ["SCRATCH"], f"ready-{os.getpid()}-{time.monotonic_ns()}")


def about_module(name: str) -> tuple[bool, int, str]:
    """Whether this worker has the module, who its parent is, and the program that its interpreter was started with."""
    return name in sys.modules, os.getppid(), sys.orig_argv[2]
