"""What running tasks and their client say to each other, as far as a manager has to do with it.

    worker --FromTask--> manager --TaskMessage--> interchange --FromTask--> client
    worker <--ForTask, or a word of its page-- manager <--ForTask-- interchange <-- client

A task cannot flood anybody: a worker counts what it has said (SAID), the manager writes into the page how much of that
the client has (HEARD), and with too much between the two the worker waits. See task_line.py.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial

from parsl_pool.interchange import wire
from parsl_pool.interchange.manager_core import ManagerCore
from parsl_pool.interchange.page import ALL, STOP, TASK
from parsl_pool.interchange.worker_handle import WorkerHandle


class TaskMessage:
    """What a running task says to its client, on its way there."""

    __slots__ = ("delivered", "descriptors", "record")

    def __init__(
        self,
        record: wire.FromTask,
        descriptors: list[int] | None = None,
        delivered: Callable[[], None] = lambda: None,
    ) -> None:
        self.record = record
        self.descriptors = descriptors  # of the body, if it is in shared memory
        self.delivered = delivered  # to be called once the client has it, or nobody wants it

    def drop(self) -> None:
        """Nobody wants it."""
        for fd in self.descriptors or ():
            os.close(fd)
        self.delivered()


class TaskMessages:
    """The messages of and for the tasks of one manager. Belongs to its loop."""

    def __init__(
        self,
        core: ManagerCore,
        workers: dict[int, WorkerHandle],
        report: Callable[[TaskMessage], None],
        put: Callable[[WorkerHandle, bytes], None],
    ) -> None:
        self._core, self._workers, self._report, self._put = core, workers, report, put

    def from_task(self, worker: WorkerHandle, record: wire.FromTask, descriptors: list[int]) -> None:
        """A worker's task says something."""
        worker.heard += 1
        message = TaskMessage(record, descriptors or None, partial(worker.delivered, worker.heard))
        seat = self._core.seats.get(worker.number)
        if seat is None or record.task not in seat.held:
            message.drop()  # said by a thread that a task has left behind, say
        else:
            self._report(message)

    def for_task(self, record: wire.ForTask) -> None:
        """The client says something to a task; to one that is not running, nothing."""
        if record.task == wire.NO_TASK:
            self.stop_all()
            return
        number = self._core.holder(record.task)
        worker = self._workers.get(number) if number is not None else None
        if worker is None or worker.page.words[TASK] != record.task:
            return
        if record.topic == wire.STOP:
            worker.page.words[STOP] = record.task
        else:
            self._put(worker, wire.frame(record))

    def stop_all(self) -> None:
        """What runs is asked to stop; it need not."""
        for worker in self._workers.values():
            worker.page.words[STOP] = ALL
