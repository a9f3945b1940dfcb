"""The functions that the pools run. Workers import them by name, the client counts that it ran none.

`calls` grows in the process that runs a task. In the client it must be zero after a measurement: a pool that
quietly ran its tasks at home would otherwise win every line.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

calls = [0]


def noop(i: int) -> int:
    """`i` itself."""
    calls[0] += 1
    return i


def echo(value: Any) -> Any:
    """What it was given, whatever the size."""
    calls[0] += 1
    return value


def paths(files: Sequence[Any]) -> list[str]:
    """Where files are, which are all there."""
    calls[0] += 1
    found = [file.filepath for file in files]
    for path in found:
        os.stat(path)
    return found


def increment(i: int) -> int:
    """`i + 1`."""
    calls[0] += 1
    return i + 1


def add(a: int, b: int) -> int:
    """The sum of two numbers."""
    calls[0] += 1
    return a + b


def total(numbers: Sequence[int]) -> int:
    """The sum of many numbers."""
    calls[0] += 1
    return sum(numbers)


def digest(array: Any) -> str:
    """SHA-256 of an array's bytes."""
    calls[0] += 1
    return hashlib.sha256(array).hexdigest()


def first(array: Any) -> float:
    """The first number of an array."""
    calls[0] += 1
    return float(array[0])


def sample(array: Any) -> float:
    """The sum of some of an array's numbers, from all over it."""
    calls[0] += 1
    return float(array[:: max(1, len(array) // 1000)].sum())


def pid_after(seconds: float) -> int:
    """The pid of the process that ran this, after a sleep which keeps that process from running two."""
    calls[0] += 1
    time.sleep(seconds)
    return os.getpid()


def sleep(seconds: float) -> float:
    """The given number, after sleeping for so long."""
    calls[0] += 1
    time.sleep(seconds)
    return seconds


def hold(path: str) -> bool:
    """True, as soon as the file exists: until then the worker is taken."""
    calls[0] += 1
    while not Path(path).exists():
        time.sleep(0.02)
    return True
