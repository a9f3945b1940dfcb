"""Payloads in shared memory, brought back into the message: for links that carry no descriptors."""

from __future__ import annotations

import os

from parsl_pool.interchange import columns, envelope, serialize, wire
from parsl_pool.interchange.task_messages import TaskMessage

_STAND_IN = len(serialize.stand_in(0))


def read_descriptor(fd: int) -> bytes:
    """All that a descriptor's file holds; it is closed."""
    try:
        size, position, parts = os.fstat(fd).st_size, 0, []
        while position < size:
            part = os.pread(fd, size - position, position)
            if not part:
                break
            parts.append(part)
            position += len(part)
        return b"".join(parts)
    finally:
        os.close(fd)


def inline_tasks(tasks: columns.Tasks) -> columns.Tasks:
    """The same tasks without descriptors."""
    if not tasks.descriptors:
        return tasks
    payload = tasks.payload[: -_STAND_IN] + read_descriptor(tasks.descriptors[0])  # what a try is told comes before
    for fd in tasks.descriptors[1:]:  # memory for the result: nobody can write to it there
        os.close(fd)
    inlined = columns.Tasks(
        tasks.priority, tasks.walltime_ms, 1, tasks.ids, tasks.functions, wire.LENGTH.pack(len(payload)), payload
    )
    inlined.request = tasks.request
    return inlined


def inline_results(results: columns.Results) -> columns.Results:
    """The same result without descriptors; an error, if it is too large for a message."""
    if not results.descriptors:
        return results
    task, _, status = columns.RECORD.unpack_from(results.records)
    size = os.fstat(results.descriptors[0]).st_size
    if size > serialize.MAX_PAYLOAD:
        os.close(results.descriptors[0])
        problem = serialize.too_large("the result", size)
        return columns.result_of(task, wire.UNSENDABLE, envelope.dump_exception(problem))
    return columns.result_of(task, status, read_descriptor(results.descriptors[0]))


def inline_message(message: TaskMessage) -> TaskMessage:
    """The same message without descriptors."""
    if message.descriptors:
        body = read_descriptor(message.descriptors[0])
        return TaskMessage(wire.FromTask(message.record.task, message.record.topic, body), None, message.delivered)
    return message
