"""Waking a thread that waits in poll(): an eventfd where there is one, a pipe elsewhere."""

from __future__ import annotations

import os
import threading

from parsl_pool.interchange.shared_memory import PORTABLE


class Wakeup:
    """Set by any thread, cleared by the one that polls `fileno()`."""

    def __init__(self) -> None:
        self._lock = threading.Lock()  # guards closing against setting: a closed number may be somebody else's
        self._open = True
        if hasattr(os, "eventfd") and not PORTABLE:
            self._read = self._write = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        else:
            self._read, self._write = os.pipe()
            os.set_blocking(self._read, False)
            os.set_blocking(self._write, False)

    def fileno(self) -> int:
        """Readable while it is set."""
        return self._read

    def set(self) -> None:
        """Wake the poller, now or at its next poll."""
        with self._lock:
            if self._open:
                try:
                    os.write(self._write, b"\1\0\0\0\0\0\0\0")
                except BlockingIOError:
                    pass  # it is full, hence set

    def clear(self) -> None:
        """Make it unreadable."""
        try:
            os.read(self._read, 4096)
        except BlockingIOError:
            pass

    def disown(self) -> None:
        """In a forked child: close the copies."""
        self._lock = threading.Lock()  # another thread may have held it
        self.close()

    def close(self) -> None:
        """Close it; `set` does nothing from then on."""
        with self._lock:
            if self._open:
                self._open = False
                os.close(self._read)
                if self._write != self._read:
                    os.close(self._write)
