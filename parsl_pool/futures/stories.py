"""What became of a task, as data: for programs that decide by it.

The futures here are AppFutures; that module loads this one.
"""

from __future__ import annotations

from concurrent.futures import CancelledError
from typing import Any

from parsl_pool.errors import (
    AppTimeout,
    ConfigurationError,
    ExecutorError,
    InternalError,
    JoinError,
    PlaceLost,
    PoolBroken,
    PropagatedException,
    SerializationError,
    WorkerKilled,
    WorkerLost,
)
from parsl_pool.futures.states import TaskState

REASONS = (
    ("cancelled", "user"),
    ("killed", "user"),
    ("walltime", "task"),
    ("worker lost", "task"),
    ("place lost", "place"),
    ("serialization", "task"),
    ("pool broken", "config"),
    ("dependency", "that of the dependency"),
    ("join", "that of what was joined"),
    ("raised", "task"),
)
"""What `future.reason` can be, and the culprit that goes with it."""

_CLASSES: tuple[tuple[type[BaseException] | tuple[type[BaseException], ...], str, str], ...] = (
    (CancelledError, "cancelled", "user"),
    (WorkerKilled, "killed", "user"),
    (AppTimeout, "walltime", "task"),
    (WorkerLost, "worker lost", "task"),
    (PlaceLost, "place lost", "place"),
    (SerializationError, "serialization", "task"),
    ((PoolBroken, ConfigurationError, ExecutorError, InternalError), "pool broken", "config"),
)


def status_of(future: Any) -> TaskState:
    """Where the task is, as far as can be seen from here."""
    if future.cancelled():
        return TaskState.cancelled
    known: TaskState | None = getattr(future._record, "status", None)
    if known is not None:
        return TaskState.running if known is TaskState.launched and future.running() else known
    if not future.done():
        if future.running():
            return TaskState.running
        return TaskState.pending if getattr(future._owner, "holds_back", False) else TaskState.launched
    if not future.has_failed():
        return TaskState.exec_done
    data = future._data  # a Failure has an error, a DependencyFailure the kind of the one that it will make
    kind = getattr(data, "kind", None) or type(getattr(data, "error", None))
    return TaskState.dep_fail if issubclass(kind, PropagatedException) else TaskState.failed


def why(future: Any) -> tuple[str | None, str | None]:
    """The reason why there is no value, and whose fault that is. Opens the outcome, as `exception()` does."""
    if not future.done():
        return None, None
    if future.cancelled():
        return "cancelled", "user"
    error = future.exception(0)
    return (None, None) if error is None else reason_of(error)


def reason_of(error: BaseException) -> tuple[str, str]:
    """A reason of `REASONS`, and the culprit."""
    if isinstance(error, PropagatedException):
        root = error.root_cause
        culprit = "task" if root is error else reason_of(root)[1]
        return ("join" if isinstance(error, JoinError) else "dependency"), culprit
    for kinds, reason, culprit in _CLASSES:
        if isinstance(error, kinds):
            return reason, culprit
    return "raised", "task"
