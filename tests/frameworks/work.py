"""What the frameworks' tests give the workers to do; here, so that workers import no module of tests."""

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any


def square_and_pid(number: int) -> tuple[int, int]:
    return number * number, os.getpid()


def square(number: int) -> int:
    return number * number


def divide(a: float, b: float) -> float:
    return a / b


def wait_for(path: Path) -> int:
    """Hold a worker until the file is there. Returns the worker's pid."""
    while not path.exists():
        time.sleep(0.01)
    return os.getpid()


def announce_and_wait_for(announced: Path, path: Path) -> int:
    announced.touch()
    return wait_for(path)


def count_up(path: Path) -> int:
    """How many calls there were with that file, this one included."""
    append_line(path, "call")
    return len(path.read_text().splitlines())


def fail_until(path: Path, calls: int) -> int:
    if count_up(path) < calls:
        raise OSError("not yet")
    return os.getpid()


def kill_self() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def kill_self_once(path: Path, number: int) -> int:
    """Ends its worker at the first call with that file; later ones work."""
    if count_up(path) == 1:
        kill_self()
    return number * number


def append_line(path: Path, line: object) -> None:
    # One write to a file opened for appending: lines of several processes do not mix.
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    try:
        os.write(descriptor, f"{line}\n".encode())
    finally:
        os.close(descriptor)


class Traced:
    """A function that leaves the pid of each call in a file: for functions that must return a float."""

    def __init__(self, function: Callable[..., Any], path: Path) -> None:
        self._function = function
        self._path = path

    def __call__(self, *args: Any) -> Any:
        append_line(self._path, os.getpid())
        return self._function(*args)

    def pids(self) -> list[int]:
        """The process of each call so far."""
        return [int(line) for line in self._path.read_text().splitlines()] if self._path.exists() else []
