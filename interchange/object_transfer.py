"""An object on a link that carries no descriptors: its bytes in parts, a few of them at a time.

    Outflow --Object, ObjectPart, ObjectPart, ...--> Inflow;  <--ObjectTaken, ...--

So heartbeats, tasks and results wait behind a few megabytes at most, and not behind all of a large object.
"""

from __future__ import annotations

import os
from collections.abc import Callable

from parsl_pool.errors import BadMessage
from parsl_pool.interchange import shared_memory, wire
from parsl_pool.interchange.object_records import Object, ObjectPart

PART = 1 << 19
WINDOW = 8 << 20
"""So many bytes may be under way."""


class Outflow:
    """Sends an object. Belongs to the loop of its process."""

    def __init__(self, key: str, fd: int, size: int, send: Callable[[wire.Record], object]) -> None:
        """fd: stays the caller's, and open. Raises OSError: it holds less than that."""
        self._key, self._fd, self._size, self._send = key, fd, size, send
        self._sent = 0
        send(Object(key, size, ""))
        self._fill(0)

    def taken(self, position: int) -> bool:
        """All before this has arrived. True if that is all. Raises BadMessage: it has not been sent."""
        if not 0 <= position <= self._sent:
            raise BadMessage(f"an ObjectTaken up to {position}, of {self._sent} bytes that were sent")
        self._fill(position)
        return position == self._size

    def _fill(self, taken: int) -> None:
        while self._sent < self._size and self._sent - taken < WINDOW:
            data = os.pread(self._fd, min(PART, self._size - self._sent), self._sent)
            if not data:
                raise OSError(f"its memory has {self._sent} bytes, and not {self._size}")
            self._send(ObjectPart(self._key, self._sent, data))
            self._sent += len(data)


class Inflow:
    """Puts the parts of an object together, in shared memory."""

    def __init__(self, size: int) -> None:
        """Raises OSError: there is no room for it."""
        self.size = size
        self.fd = shared_memory.create(size, "object")
        self._came = 0

    def take(self, part: ObjectPart) -> bool:
        """Add a part. True if it was the last one.

        Raises:
            BadMessage: it is not the next one.
            OSError: there is no room for it.
        """
        if part.position != self._came or not part.data or self._came + len(part.data) > self.size:
            raise BadMessage(f"bytes from {part.position} on of an object, in the place of those from {self._came} on")
        view = memoryview(part.data)
        while view:
            written = os.pwrite(self.fd, view, self._came)
            self._came += written
            view = view[written:]
        return self._came == self.size

    def close(self) -> None:
        """Let go of what has come."""
        os.close(self.fd)
