"""The client's end of the channel to running tasks: what they say, by topic, and what is said to them.

    task --FromTask--> I/O thread: the handler of its topic;  task <--ForTask-- any thread
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from parsl_pool.futures import AppFuture
from parsl_pool.interchange import serialize, wire
from parsl_pool.loggers import careful_logger

log = careful_logger("parsl_pool.interchange")

Handler = Callable[[AppFuture[Any], int, bytes | memoryview], object]
"""Gets the future of the task that speaks, the number of its try, and the body. Runs in the I/O thread."""


class TaskChannel:
    """The channel of one link."""

    def __init__(self, link: Any) -> None:
        self._link = link
        self._handlers: dict[str, Handler] = {}

    def on(self, topic: str, handler: Handler) -> None:
        """Have the messages of that topic handled by this. It must be quick: all results wait for it."""
        self._handlers[topic] = handler

    def arrived(self, record: wire.FromTask, descriptors: list[int]) -> None:
        """A task has said something. If it is over, or nobody listens, that is dropped. Called by the I/O thread."""
        future = self._link.tries.table.get(record.task)
        handler = self._handlers.get(record.topic)
        if future is None or handler is None:
            for fd in descriptors:
                os.close(fd)
            return
        body: bytes | memoryview = record.body
        try:
            if descriptors:
                body = serialize.from_shared_memory(descriptors[0])
            handler(future, record.task, body)
        except Exception:  # logged: it came from a task, and must not end the thread that brings all results
            log.exception("pool %s: a message %r of task %d", self._link.label, record.topic, future.tid)

    def send(self, task: int, topic: str, body: bytes = b"") -> bool:
        """Say this to the try of that number. It reads it when it waits for it, if it still runs. Any thread.

        False if the try is over already, as far as is known here.
        """
        if task not in self._link.tries.table:
            return False
        self._link.send(wire.ForTask(task, topic, body))
        return True
