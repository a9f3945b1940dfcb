"""What a process that a manager has started writes to stderr: passed on to ours, kept, and the end of it remembered."""

from __future__ import annotations

import os
import select
from collections.abc import Callable

from parsl_pool.interchange.loop import Loop

_TAIL = 4096


class StderrPipe:
    """The manager's end of the stderr of a worker or fork server. Belongs to the manager's loop."""

    def __init__(self, loop: Loop, fd: int, keep: Callable[[bytes], None]) -> None:
        """fd: the end to read from, which is ours from now on. keep: gets all that is written."""
        os.set_blocking(fd, False)
        self._loop, self._fd, self._keep = loop, fd, keep
        self._tail = bytearray()
        loop.add_reader(fd, self._read)

    def drain(self) -> bool:
        """Pass on what is there. False at the end of the pipe."""
        while True:
            try:
                data = os.read(self._fd, 65536)
            except BlockingIOError:
                return True
            except OSError:
                return False
            if not data:
                return False
            self._tail += data
            del self._tail[:-_TAIL]
            _forward(data)
            self._keep(data)

    def tail(self) -> str:
        """The last of it."""
        return self._tail.decode(errors="replace")

    def close(self) -> None:
        """Nothing more is to come."""
        self._loop.remove(self._fd)
        os.close(self._fd)

    def _read(self) -> None:
        if not self.drain():
            self._loop.remove(self._fd)


def _forward(data: bytes) -> None:
    """Write to our own stderr, but never wait for a reader: a pool must not stop because a terminal does."""
    poller = select.poll()
    poller.register(2, select.POLLOUT)
    try:
        while data and poller.poll(100):
            data = data[os.write(2, data[:512]) :]  # a pipe that polls as writable takes 512 bytes at once
    except OSError:
        return  # nobody reads it any more
