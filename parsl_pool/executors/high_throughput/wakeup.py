"""Waiting for a stream, or to be woken: by an eventfd where there is one, by a pipe elsewhere."""

from __future__ import annotations

import os
import select
import threading

from parsl_pool import portable
from parsl_pool.interchange.standard_streams import off_standard_streams
from parsl_pool.interchange.stream import Stream


class Wakeup:
    """Set by any thread, cleared by the one that waits."""

    def __init__(self) -> None:
        # Guards closing against setting: a closed number may be somebody else's. Entered again by signals' handlers.
        self._lock = threading.RLock()
        self._open = True
        if portable.has(os, "eventfd"):
            self._read = self._write = off_standard_streams(os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK))
        else:
            self._read, self._write = map(off_standard_streams, os.pipe())
            os.set_blocking(self._read, False)
            os.set_blocking(self._write, False)
        self._poller = select.poll()
        self._poller.register(self._read, select.POLLIN)
        self._stream: tuple[int, int] | None = None  # what else the poller looks at

    def wait(self, out: Stream, timeout: float | None) -> bool:
        """Until it is set, or the stream can be read, or written to if it has something. True if it can be read."""
        events = select.POLLIN | select.POLLOUT if out.wants_write else select.POLLIN
        stream = (out.fileno(), events)
        if stream != self._stream:
            self.forget()
            self._poller.register(*stream)
            self._stream = stream
        readable = False
        for fd, event in self._poller.poll(None if timeout is None else max(0.0, timeout) * 1000):
            if fd == self._read:
                self._clear()
            elif event & ~select.POLLOUT:
                readable = True
        return readable

    def forget(self) -> None:
        """The stream has ended, or there is another one."""
        if self._stream is not None:
            self._poller.unregister(self._stream[0])
            self._stream = None

    def set(self) -> None:
        """Wake the poller, now or at its next poll."""
        with self._lock:
            if self._open:
                try:
                    os.write(self._write, b"\1\0\0\0\0\0\0\0")
                except BlockingIOError:
                    pass  # it is full, hence set

    def _clear(self) -> None:
        try:
            os.read(self._read, 4096)
        except BlockingIOError:
            pass

    def disown(self) -> None:
        """In a forked child: close the copies."""
        self._lock = threading.RLock()  # another thread may have held it
        self.close()

    def close(self) -> None:
        """Close it; `set` does nothing from then on."""
        # Whoever holds it for long is in a signal's handler, which may be waiting for the pool's end.
        locked = self._lock.acquire(timeout=1.0)
        try:
            if self._open:
                self._open = False
                os.close(self._read)
                if self._write != self._read:
                    os.close(self._write)
        finally:
            if locked:
                self._lock.release()

    def __del__(self) -> None:
        self.close()  # of an executor that was never started
