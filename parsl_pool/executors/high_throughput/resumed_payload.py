"""What is sent for a try that has to be told of its task: which one it is, and what an earlier try has saved."""

from __future__ import annotations

from typing import Any

from parsl_pool.dataflow.record import TaskRecord
from parsl_pool.executors.high_throughput.large_arguments import SharedPayload
from parsl_pool.futures.told import known_of
from parsl_pool.interchange import resumed, serialize


class ResumedPayload:
    """A payload of form T (interchange/resumed.py) around that of the call."""

    __slots__ = ("_number", "_state", "_task", "payload")

    def __init__(self, payload: bytes | SharedPayload, task: int, number: int, state: Any) -> None:
        self.payload = payload
        self._task, self._number, self._state = task, number, state if state is not None else b""

    def to_send(self) -> tuple[bytes, list[int] | None]:
        """A payload, and the descriptors to travel beside it."""
        parts = resumed.head(self._task, self._number, self._state)
        inner = self.payload
        if len(self._state) < serialize.LARGE:
            short, descriptors = inner.to_send() if isinstance(inner, SharedPayload) else (inner, None)
            return b"".join([*parts, short]), descriptors
        parts += inner.parts() if isinstance(inner, SharedPayload) else [inner]
        try:
            short, fd = serialize.to_shared_memory(parts, "arguments")
        except OSError:
            return b"".join(parts), None  # no memory or no descriptor left: through the socket
        return short, [fd]


def resume(data: Any, task: int, number: int, state: Any) -> Any:
    """What is to be sent for the next try of a task, of which this was sent for the last one."""
    if isinstance(data, ResumedPayload):
        data = data.payload
    elif type(data) is bytes and data[0] == resumed.FORM:
        data = bytes(resumed.split(data)[1])
    return ResumedPayload(data, task, number, state)


def first(data: Any, task: int) -> Any:
    """The same for a first try."""
    return b"".join([*resumed.head(task, 0), data]) if type(data) is bytes else ResumedPayload(data, task, 0, None)


def try_of(task: TaskRecord, record: TaskRecord, payload: Any) -> Any:
    """Make this the record of a try of that task; what is to be sent for it."""
    record.parent, record.task = task, task.task
    if not record.tries:
        return first(payload, task.task)
    told = known_of(task)
    return resume(payload, task.task, record.tries, told.state if told is not None else None)
