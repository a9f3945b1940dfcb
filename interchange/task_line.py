"""What a task says to its client while it runs, and what it is told: the worker's end.

Loaded when a task uses it for the first time. A worker has no second thread, so what comes for a task is read when the
task waits for it, or stands in a word of the page.

    send: FromTask ─► socket;  SAID counts them
    room: SAID - HEARD messages are not with the client yet; with too much of that on the way, the task waits
"""

from __future__ import annotations

import os
import threading
from collections import deque
from time import monotonic, sleep
from typing import TYPE_CHECKING, Any

from parsl_pool.errors import BadMessage
from parsl_pool.interchange import serialize, wire
from parsl_pool.interchange.page import HEARD, SAID, TASK
from parsl_pool.interchange.worker_connection import StopWork

if TYPE_CHECKING:
    from parsl_pool.interchange.worker import Worker

_BUDGET = 1 << 18
"""Bytes of messages that one worker may have on the way to the client."""

_OVERHEAD = 1 << 10  # what a message costs beside its body
_IN_MEMORY = _BUDGET // 2 - _OVERHEAD  # the cost of a body in shared memory: a descriptor, in each process on the way
_NAP_S = 0.001
_LONGEST_NAP_S = 0.05
_SLICE_S = 0.1


class TaskLine:
    """The line between the tasks of one worker and their client. Any thread of the running task may use it."""

    def __init__(self, worker: Worker) -> None:
        self._worker, self._connection, self._words = worker, worker._connection, worker._words
        self._lock = threading.Lock()  # guards what follows, and keeps SAID in the order of sending
        self._on_the_way: deque[int] = deque()  # what each message costs that the client may not have
        self._cost = 0
        self._inbox: dict[int, deque[tuple[str, bytes]]] = {}  # of the running task; changed under _lock

    @property
    def task(self) -> int:
        """The try that runs; 0 for none."""
        number: int = self._words[TASK]
        return number

    # -- out

    def send(self, topic: str, body: bytes | list[Any] = b"", *, task: int = 0) -> None:
        """Say this to the client. It has left this process when this returns, unless nobody is there to say it to.

        Waits while too much is on the way. A body of 64 kB and more goes through shared memory.
        """
        with self._lock:
            task = task or self.task
            if not task:
                return
            size = serialize.size_of(body)
            cost = _OVERHEAD + (size if size < serialize.LARGE else _IN_MEMORY)
            self._wait_for_room(cost)
            try:
                self._send(task, topic, body, size)
            except StopWork:
                return  # the manager is gone, and we shall be
            self._on_the_way.append(cost)
            self._cost += cost
            self._words[SAID] += 1

    def _send(self, task: int, topic: str, body: bytes | list[Any], size: int) -> None:
        if size >= serialize.LARGE:
            try:
                _, fd = serialize.to_shared_memory(body, "message")
            except OSError:
                pass  # no shared memory left: through the socket
            else:
                try:
                    self._connection.send_descriptor(wire.frame(wire.FromTask(task, topic, b""), 1), fd)
                finally:
                    os.close(fd)
                return
        self._connection.send(wire.frame(wire.FromTask(task, topic, serialize.join(body))))

    def has_room(self) -> bool:
        """False while a small message would have to wait: for room, or for another thread's message."""
        if not self._lock.acquire(blocking=False):
            return False
        try:
            self._count_heard()
            return self._cost + _OVERHEAD <= _BUDGET
        finally:
            self._lock.release()

    def _wait_for_room(self, cost: int) -> None:
        nap = _NAP_S
        self._count_heard()
        while self._on_the_way and self._cost + cost > _BUDGET:  # a single one may always go
            sleep(nap)
            nap = min(2 * nap, _LONGEST_NAP_S)
            self._count_heard()

    def _count_heard(self) -> None:
        while len(self._on_the_way) > self._words[SAID] - self._words[HEARD]:
            self._cost -= self._on_the_way.popleft()

    # -- in

    def receive(self, topic: str, timeout: float | None = None) -> bytes | None:
        """The next message of that topic for the running task; None if none comes in so many seconds."""
        task, deadline = self.task, None if timeout is None else monotonic() + timeout
        while task and self.task == task:
            found = self._take(task, topic)
            left = _SLICE_S if deadline is None else deadline - monotonic()
            if found is not None or left <= 0:
                return found
            try:
                self._read(task, min(left, _SLICE_S))
            except StopWork:
                return None  # the manager is gone, and we shall be
        return None  # the task that waited is over: this is a thread that it left behind

    def _take(self, task: int, topic: str) -> bytes | None:
        with self._lock:
            for known in [known for known in self._inbox if known != task]:
                del self._inbox[known]  # these are over
            while self._worker.for_task:
                self._keep(self._worker.for_task.popleft())
            waiting = self._inbox.get(task, ())
            for place, (its, body) in enumerate(waiting):
                if its == topic:
                    del self._inbox[task][place]
                    return body
        return None

    def _keep(self, data: bytes) -> None:
        try:
            record = wire.decode(wire.KIND[wire.ForTask], data)
        except BadMessage:
            return  # a task wrote into its own socket
        assert isinstance(record, wire.ForTask)
        self._inbox.setdefault(record.task, deque()).append((record.topic, record.body))

    def _read(self, task: int, timeout: float) -> None:
        """Wait for a message, and keep it. Those that are not for a task are left to the worker's own loop."""
        body = self._connection.next_of(wire.KIND[wire.ForTask], timeout, lambda: self.task == task)
        if body is not None:
            self._worker.for_task.append(body)
