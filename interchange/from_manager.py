"""What a zmq message of a manager's holds: a record, tasks, results, and the memory that it lends."""

from __future__ import annotations

from parsl_pool.errors import BadMessage
from parsl_pool.interchange import columns, lent, wire
from parsl_pool.interchange.rubbish import check
from parsl_pool.interchange.task_messages import TaskMessage

Message = wire.Record | columns.Tasks | columns.Results | TaskMessage


def decode(data: bytes) -> Message:
    """What it holds. Raises BadMessage."""
    kind, body, _ = lent.split(data)
    if kind == wire.RESULTS:
        return columns.Results.decode(body)
    if kind == wire.TASKS:
        return columns.Tasks.decode(body)
    if kind == wire.ASKING:
        return columns.Tasks.decode_asking(body)
    record = wire.decode(kind, body)
    check(record)
    return TaskMessage(record) if isinstance(record, wire.FromTask) else record


def with_memory(message: Message, names: list[lent.Name], host: str) -> Message:
    """The message with the memory that it lends; of a task whose result can't be opened, that it is lost.

    Raises:
        BadMessage: no memory comes with such a message.
    """
    if isinstance(message, TaskMessage):
        if len(names) != 1 or message.record.body:
            raise BadMessage("a task's message with more than its body in memory")
        try:
            message.descriptors = lent.open_named(names)
        except OSError as problem:
            raise BadMessage(f"a task's message can't be read: {problem}") from None
        return message
    if not isinstance(message, columns.Results):
        raise BadMessage("memory lent with something else than a result or a task's message")
    if message.count > 1:
        raise BadMessage("memory lent with more than one result")
    try:
        message.descriptors = lent.open_named(names)
    except OSError as problem:
        return lent.lost(message.task_ids()[0], host, f"its result can't be read: {problem}")
    return message
