"""Failures of tasks, as a flow keeps them until somebody looks."""

from __future__ import annotations

import os
import warnings
from concurrent.futures import CancelledError
from typing import Any

from parsl_pool.dataflow.record import FlowRecord
from parsl_pool.errors import described
from parsl_pool.futures import Failure

_KEEP = 100


class Failures:
    """Those of one flow: how many there were, and which of them nobody has looked at."""

    def __init__(self, name: str) -> None:
        self._name = name
        self.count = self._seen = 0
        self._unread: dict[int, str] = {}  # a few that nobody has looked at: task -> story

    def happened(self, task: int, label: str, outcome: Any) -> object:
        """A task has failed. Its outcome, such that who opens it is noted."""
        self.count += 1
        if len(self._unread) < _KEEP:
            self._unread[task] = f"{label}: {summary_of(outcome)}"
        return Known(outcome.error) if type(outcome) is Failure else outcome

    def told_elsewhere(self) -> None:
        """A task has failed because another one did, which is counted where it is."""
        self.count += 1
        self._seen += 1

    def seen(self, task: int) -> None:
        """Somebody has looked at it."""
        self._seen += 1
        self._unread.pop(task, None)

    def report(self) -> None:
        """Warn of those that nobody looked at: the pool has ended."""
        unread, self._seen = self.count - self._seen, self.count
        if unread > 0 and self._unread:
            task, story = next(iter(self._unread.items()))
            warn_of_unread(unread, f"pool {self._name}", task, story, stacklevel=6)


def warn_of_unread(unread: int, of: str, task: int, story: str, stacklevel: int) -> None:
    """So many tasks failed, that one among them, and nobody looked."""
    tasks = "1 task" if unread == 1 else f"{unread} tasks"
    warnings.warn(
        f"{tasks} of {of} failed, and nobody looked at the results. One of them was task {task}: {story}",
        RuntimeWarning,
        stacklevel=stacklevel,
    )


class Known:
    """An error that is known here, and that nobody has looked at: who does opens it, and that is noted."""

    __slots__ = ("_error",)
    failed = True

    def __init__(self, error: BaseException) -> None:
        self._error = error

    def open(self) -> Any:
        """Raises the error."""
        raise self._error

    def summary(self) -> str:
        """The error in words."""
        return described(self._error)

    def error(self) -> BaseException:
        """The error."""
        return self._error


class InDirectory:
    """An error of a task that ran in a directory of its own: it says which."""

    __slots__ = ("_outcome", "_record")
    failed = True

    def __init__(self, outcome: Any, record: FlowRecord) -> None:
        self._outcome, self._record = outcome, record

    def open(self) -> Any:
        """Raises the error."""
        raise self.error()

    def summary(self) -> str:
        """The error in words."""
        return str(self._outcome.summary())

    def error(self) -> BaseException:
        """The error, with a note."""
        error = error_in(self._outcome)
        path, attempts = self._record.directory, self._record.attempts
        host = attempts[-1].host if attempts and attempts[-1].host != os.uname().nodename else ""
        if path is not None and (host or os.path.isdir(path)):
            note = f"the task's own directory is kept: {path}{' on ' if host else ''}{host}"
            BaseException.__setattr__(error, "__notes__", [*getattr(error, "__notes__", ()), note])
        return error


def error_in(outcome: Any) -> BaseException:
    """The error of a failed try, opened."""
    if type(outcome) is Failure:
        return outcome.error
    try:
        outcome.open()
    except BaseException as error:  # the task's
        return error.with_traceback(None)
    return CancelledError()  # it had failed, and now it has not


def summary_of(outcome: Any) -> str:
    """The error of a failed try in a line, without opening it where that can be avoided."""
    try:
        text = str(outcome.summary()) if hasattr(outcome, "summary") else repr(error_in(outcome))
        return text.split("\n", 1)[0][:200]
    except Exception as problem:  # a __str__ of the user's
        return f"an error that can't be shown ({type(problem).__name__})"
