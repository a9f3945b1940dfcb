"""The directory of the task that runs here, if it has one of its own; see parsl_pool/staging/sandbox.py."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager


def of_try(base: str, number: int) -> str:
    """The path of the directory of that try of a task."""
    return f"{base}_try{number}"


class OwnDirectory:
    """Where a task runs, and where it would without.

    Attributes:
        path: of the task's own one.
        home: where this process is otherwise: what relative names mean to those who have submitted the task.
        is_entered: the process has gone there; False: it can't, for others run in it; shell commands do.
    """

    __slots__ = ("home", "is_entered", "path")

    def __init__(self, path: str, is_entered: bool) -> None:
        self.path, self.home, self.is_entered = path, os.getcwd(), is_entered


class _OfThisThread(threading.local):
    directory: OwnDirectory | None = None


_here = _OfThisThread()


@contextmanager
def entered(directory: OwnDirectory) -> Iterator[None]:
    """While the task runs."""
    _here.directory = directory
    try:
        if directory.is_entered:
            os.chdir(directory.path)
        yield
    finally:
        _here.directory = None
        if directory.is_entered:
            os.chdir(directory.home)


@contextmanager
def left() -> Iterator[None]:
    """While the task waits, and another one runs in its process."""
    directory = _here.directory
    if directory is None:
        yield
        return
    before = os.getcwd()
    _here.directory = None
    os.chdir(directory.home)
    try:
        yield
    finally:
        _here.directory = directory
        os.chdir(before)


def for_commands() -> str | None:
    """Where shell commands of the task are to run; None: where this process is."""
    directory = _here.directory
    return None if directory is None or directory.is_entered else directory.path


def from_home(path: str | os.PathLike[str]) -> str:
    """A path as it is meant by who has submitted the task."""
    directory = _here.directory
    return os.fspath(path) if directory is None else os.path.join(directory.home, path)
