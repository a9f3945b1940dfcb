"""A worker's end of the socket to its manager."""

from __future__ import annotations

import select
import socket
import threading
from collections import deque
from collections.abc import Callable

from parsl_pool.interchange import wire
from parsl_pool.interchange.stream import receive_into_buffer

Message = tuple[int, bytes, list[int]]


class StopWork(Exception):
    """The manager wants no more of us, or is gone."""


class Connection:
    """Sends and receives whole frames.

    Usually only the worker's own thread does. The locks are for threads of a task that has something to say, or waits
    for something; one of them may outlive its task.
    """

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._data = bytearray()  # deleting at its front is cheap
        self._descriptors: deque[int] = deque()
        self._passed_by: deque[Message] = deque()  # read by who waited for something else
        self._sending, self._receiving = threading.Lock(), threading.Lock()

    def send(self, frame: bytes) -> None:
        """Send a whole frame; blocks until the manager has room for it."""
        try:
            with self._sending:
                self._sock.sendall(frame)
        except OSError:
            raise StopWork from None

    def send_descriptor(self, frame: bytes, fd: int) -> None:
        """Send a frame and a descriptor beside its first byte."""
        try:
            with self._sending:
                sent = socket.send_fds(self._sock, [frame], [fd])
                if sent < len(frame):
                    self._sock.sendall(frame[sent:])
        except OSError:
            raise StopWork from None

    def next(self) -> Message:
        """The next message: kind, body, descriptors. Blocks."""
        with self._receiving:
            if self._passed_by:
                return self._passed_by.popleft()
            while (message := self._whole()) is None:
                self._receive()
            return message

    def next_of(self, wanted: int, timeout: float, is_ours: Callable[[], bool]) -> bytes | None:
        """The body of the next message of that kind; None if none has come in so many seconds, or another one has.

        The lock is not held while this waits. Others are left for `next`.

        Args:
            is_ours: whether this thread may still read, asked just before it does: its task may be over.
        """
        if not self._data and not self._is_readable(timeout):
            return None
        with self._receiving:
            message = self._whole() if is_ours() else None
            if message is None and is_ours() and self._is_readable(timeout if self._data else 0):
                self._receive()
                message = self._whole()
            if message is not None and message[0] != wanted:
                self._passed_by.append(message)
                message = None
        return message[1] if message is not None else None

    def _is_readable(self, timeout: float) -> bool:
        poller = select.poll()
        poller.register(self._sock, select.POLLIN)
        return bool(poller.poll(timeout * 1000))

    def _receive(self) -> None:
        try:
            data, descriptors = receive_into_buffer(self._sock)
        except OSError:
            raise StopWork from None
        self._descriptors.extend(descriptors)
        if not data:
            raise StopWork  # the manager is gone
        self._data += data

    def _whole(self) -> Message | None:
        if len(self._data) >= 6:
            size, kind, count = wire.HEAD.unpack_from(self._data)
            if len(self._data) >= size + 4:
                body = bytes(self._data[6 : size + 4])
                del self._data[: size + 4]
                return kind, body, [self._descriptors.popleft() for _ in range(count)]
        return None
