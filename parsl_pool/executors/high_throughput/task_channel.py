"""The client's end of the channel to running tasks: what they say, by topic, and what is said to them.

    task --FromTask--> I/O thread: the handler of its topic;  task <--ForTask-- any thread
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from parsl_pool.futures import AppFuture
from parsl_pool.futures.told import Progress, Told, known_of, told_by
from parsl_pool.interchange import serialize, wire
from parsl_pool.interchange.object_records import ObjectTaken, WantObject
from parsl_pool.interchange.task_face import LOG, PROGRESS, STATE, unpack_progress
from parsl_pool.loggers import careful_logger

log = careful_logger("parsl_pool.interchange")
_tasks_log = careful_logger("parsl_pool.task")

Handler = Callable[[AppFuture[Any], int, bytes | memoryview], object]
"""Gets the future of the task that speaks, the number of its try, and the body. Runs in the I/O thread."""


class TaskChannel:
    """The channel of one link."""

    def __init__(self, link: Any) -> None:
        self._link = link
        self.on_object: Callable[[WantObject | ObjectTaken], object] = lambda record: None
        self._handlers: dict[str, Handler] = {PROGRESS: self._progress, STATE: self._state, LOG: self._log}

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

    def told_by(self, future: AppFuture[Any]) -> Told:
        """What the task of this try has told. Any thread."""
        record = future._record
        return told_by(record if record is not None else self._link.tries.record_of(future))

    def stop(self, future: AppFuture[Any]) -> bool:
        """Ask a task that runs to stop. Any thread."""
        if future._tid not in self._link.tries.table:
            return False
        self.told_by(future).is_stopping = True
        return self.send(future._tid, wire.STOP)

    def stop_all(self) -> None:
        """Ask all that runs to stop."""
        self._link.send(wire.ForTask(wire.NO_TASK, wire.STOP, b""))

    # -- topics

    def _progress(self, future: AppFuture[Any], task: int, body: bytes | memoryview) -> None:
        fraction, when, text = unpack_progress(body)
        self.told_by(future).progress = Progress(fraction, text, when)

    def _state(self, future: AppFuture[Any], task: int, body: bytes | memoryview) -> None:
        told = self.told_by(future)
        is_first, told.state = told.state is None, body
        if is_first and future._record.parent is None:  # else it is dropped with the parent's task
            future.add_done_callback(_drop_state)

    def _log(self, future: AppFuture[Any], task: int, body: bytes | memoryview) -> None:
        text = bytes(body[1:]).decode("utf-8", "replace")
        _tasks_log.log(body[0], "task %d (%s): %s", future.tid, self._link.name_of(future), text)


def _drop_state(future: Any) -> None:
    told = known_of(future._record)
    if told is not None:
        told.state = None
