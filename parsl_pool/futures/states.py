"""The states of a task, which may follow which, and how a try is told of."""

from __future__ import annotations

from enum import IntEnum
from typing import NamedTuple


class TaskState(IntEnum):
    """Where a task is. The numbers are those that Parsl's monitoring database uses."""

    unsched = -1
    """It is being made."""
    pending = 0
    """It waits for what it needs, or for its next try."""
    running = 2
    """A worker runs it."""
    exec_done = 3
    """It has returned."""
    failed = 4
    """Its last try has failed."""
    dep_fail = 5
    """Something that it needs has failed, so that it never ran."""
    launched = 7
    """An executor has it."""
    fail_retryable = 8
    """A try has failed, and another one will come."""
    memo_done = 9
    """The same call had been done before."""
    joining = 10
    """A join app has returned futures, and waits for them."""
    running_ended = 11
    """The worker has done its part; the result is on its way."""
    cancelled = 12
    """The user has taken it back."""


FINAL = frozenset(
    {TaskState.exec_done, TaskState.memo_done, TaskState.failed, TaskState.dep_fail, TaskState.cancelled}
)
"""States that nothing follows."""

_S = TaskState
MOVES: dict[TaskState, frozenset[TaskState]] = {
    _S.unsched: frozenset({_S.pending, _S.memo_done}),
    _S.pending: frozenset({_S.launched, _S.joining, _S.memo_done, _S.dep_fail, _S.failed, _S.cancelled}),
    _S.launched: frozenset({_S.running, _S.pending, _S.exec_done, _S.joining, _S.fail_retryable, _S.failed,
                            _S.cancelled}),
    _S.running: frozenset({_S.running_ended, _S.pending, _S.exec_done, _S.fail_retryable, _S.failed, _S.cancelled}),
    _S.running_ended: frozenset({_S.exec_done, _S.fail_retryable, _S.failed, _S.cancelled}),
    _S.joining: frozenset({_S.exec_done, _S.failed, _S.fail_retryable, _S.cancelled}),
    _S.fail_retryable: frozenset({_S.pending, _S.cancelled}),
    **dict.fromkeys(FINAL, frozenset[TaskState]()),
}  # fmt: skip
"""State -> what may come next."""


class Attempt(NamedTuple):
    """One try that has failed, as it ended.

    Attributes:
        number: from 0 on.
        host, worker: what ran it: the host's name, "process PID" or a thread's name; "" if that is not known.
        began, ended: `time.time()` seconds, of that host's clock; 0.0 if that is not known.
        error: class and text.
    """

    number: int
    host: str
    began: float
    ended: float
    error: str
    worker: str = ""
