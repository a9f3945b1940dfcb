"""Large arguments on their way to workers of this host, through shared memory.

Those that can't change any more, bytes and strings above all, wait in the client as the objects that they are until
only few are under way. Then the memory of those before them can be used again, and a long queue takes none at all.
"""

from __future__ import annotations

import os
import resource
from collections import deque
from typing import Any
from weakref import ref

from parsl_pool.executors.high_throughput.warm_memory import BUDGET, WarmMemory
from parsl_pool.futures import AppFuture
from parsl_pool.interchange import serialize

_ALIKE = 1 << 20
"""From this size on it is worth a look whether arguments are those of the call before."""


class _Parts(list[Any]):
    """A payload in parts, of which others may know as long as it is there."""

    __slots__ = ("__weakref__",)


def _shared_with_the_last(payload: bytes | list[Any], home: WarmMemory) -> _Parts:
    """The payload, with those parts of the last one in the place of its own that are the same: so a long line of calls
    with the same data has it once. To compare is far cheaper than to pickle, and ends where they differ."""
    parts = _Parts([payload] if isinstance(payload, bytes) else payload)
    for index, before in enumerate((home.last and home.last()) or ()):
        if index < len(parts) and parts[index] is not before and parts[index] == before:
            parts[index] = before
    home.last = ref(parts)
    return parts


class SharedPayload:
    """Arguments in shared memory, kept for another try until the task is over."""

    __slots__ = ("_fd", "_home", "_payload", "_sent", "held", "short", "size")

    def __init__(self, payload: bytes | list[Any], home: WarmMemory) -> None:
        """Raises OSError if the payload has to be written now, and there is no memory or no descriptor left."""
        self._fd = -1
        self.held: tuple[object, ...] = ()  # objects that they name: these stay as long as this does
        self._home = home
        self._sent = 0
        self.size = serialize.size_of(payload)
        self.short = serialize.stand_in(self.size)
        # A pickle with nothing beside it is bytes alone. Its reader needs this memory no more when it has been read.
        self._payload: bytes | list[Any] | None = None
        if serialize.first_byte(payload) == 0x80:
            self._payload = payload if self.size < _ALIKE else _shared_with_the_last(payload, home)
            home.unwritten[id(self)] = True
        else:
            self._write(payload)  # arrays may be changed when submit has returned

    def _write(self, payload: bytes | list[Any]) -> None:
        self._home.unwritten.pop(id(self), None)
        self._home.out[id(self)] = self.size
        self._fd = self._home.write(payload)

    @property
    def waits(self) -> bool:
        """True until it has been written to shared memory."""
        return self._fd < 0

    def to_send(self) -> tuple[bytes, list[int] | None]:
        """A payload, and the descriptors to travel beside it: of the arguments, and of memory for the result."""
        self._sent += 1
        try:
            if self._fd < 0:
                assert self._payload is not None
                self._write(self._payload)
            return self.short, [os.dup(self._fd), *self._home.lend()]
        except OSError:
            if self._payload is None:
                raise
            return serialize.join(self._payload), None  # no memory or no descriptor left: through the socket

    def parts(self) -> list[Any]:
        """The payload itself, to be copied."""
        if self._payload is not None:
            return [self._payload] if isinstance(self._payload, bytes) else self._payload
        return [serialize.map_payload(self._fd)]

    def was_used(self) -> None:
        """A worker has returned a result: if it was the only one to get this, nobody will read it again."""
        if self._payload is not None and self._sent == 1 and self._fd >= 0:
            fd, self._fd = self._fd, -1
            self._home.give_back(fd, self.size, of_result=False)

    def __del__(self) -> None:
        self._home.unwritten.pop(id(self), None)
        self._home.out.pop(id(self), None)
        if self._fd >= 0:
            os.close(self._fd)


class LargeLine:
    """Where tasks with large arguments wait for those before them. Belongs to the I/O thread."""

    def __init__(self, home: WarmMemory) -> None:
        self._home = home
        self.always = 2  # so many may be under way, whatever their size
        self._waiting: deque[AppFuture[Any]] = deque()

    def admit(self, batch: list[AppFuture[Any]]) -> list[AppFuture[Any]]:
        """Those that wait, and those of the batch, that are to be sent now."""
        if not self._waiting and not self._home.unwritten:
            return batch
        room = _Room(self._home, self.always)
        waiting = self._waiting
        now: list[AppFuture[Any]] = []
        while waiting and room.has(waiting[0]):  # only the first ones are looked at: there may be very many
            now.append(waiting.popleft())
        for future in batch:
            (now if room.has(future) else waiting).append(future)
        return now

    def leave(self) -> list[AppFuture[Any]]:
        """Those that wait; they will come again."""
        waiting, self._waiting = list(self._waiting), deque()
        return waiting


class _Room:
    """How much more may be under way."""

    def __init__(self, home: WarmMemory, always: int) -> None:
        self._always, self._most = always, limit()
        self._count, self._size = len(home.out), sum(list(home.out.values()))

    def has(self, future: AppFuture[Any]) -> bool:
        """Whether this one may go; then it counts from now on."""
        data = future._data
        if type(data) is not SharedPayload or not data.waits or future._record is not None:
            return True  # it takes none; among those that wait, because it was cancelled
        if self._count >= self._always and (self._size >= BUDGET or self._count >= self._most):
            return False
        self._count, self._size = self._count + 1, self._size + data.size
        return True


def limit() -> int:
    """How many descriptors arguments may take: each counts here, in the interchange and on its way."""
    return max(16, min(512, resource.getrlimit(resource.RLIMIT_NOFILE)[0] // 8))
