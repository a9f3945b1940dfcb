"""The event loop of the interchange and of managers: descriptors and timers, one thread, no polling.

All that can be read is read before anything is written: that is what lets messages gather into batches when
there is a backlog, without any of them waiting when there is none.
"""

from __future__ import annotations

import heapq
import os
import select
import signal
from collections.abc import Callable
from time import monotonic
from typing import Any

from parsl_pool import portable

_READ, _WRITE = select.POLLIN, select.POLLOUT


class Loop:
    """Calls back when descriptors are ready and when times have come. Belongs to one thread."""

    def __init__(self) -> None:
        has_epoll = portable.has(select, "epoll")
        self._poller: Any = select.epoll() if has_epoll else select.poll()
        self._per_second = 1 if has_epoll else 1000  # units of the poller's timeout
        self._readers: dict[int, Callable[[], None]] = {}
        self._writers: dict[int, Callable[[], None]] = {}
        self._timers: list[tuple[float, int, Callable[[], None]]] = []
        self._count = 0
        self._running = True
        self._signals: dict[int, Callable[[], None]] | None = None
        self.is_alone = False
        """True while the only event of this turn is dealt with."""
        self.after_reads: list[Callable[[], None]] = []
        """Called once a turn, when everything that was readable has been read, and before the first turn."""

    def add_reader(self, fd: int, callback: Callable[[], None]) -> None:
        """Call back whenever the descriptor is readable or has ended."""
        self._readers[fd] = callback
        self._poller.register(fd, _READ)

    def want_write(self, fd: int, callback: Callable[[], None] | None) -> None:
        """Call back when a descriptor that has a reader can be written to; None: no longer."""
        if callback is None:
            if self._writers.pop(fd, None) is not None:
                self._poller.modify(fd, _READ)
        elif fd not in self._writers:
            self._writers[fd] = callback
            self._poller.modify(fd, _READ | _WRITE)

    def remove(self, fd: int) -> None:
        """Forget a descriptor; before it is closed."""
        if self._readers.pop(fd, None) is not None:
            self._writers.pop(fd, None)
            self._poller.unregister(fd)

    def call_at(self, when: float, callback: Callable[[], None]) -> None:
        """Call back at that time of `time.monotonic()`, or a little later."""
        self._count += 1
        heapq.heappush(self._timers, (when, self._count, callback))

    def on_signal(self, number: int, callback: Callable[[], None]) -> None:
        """Call back, in the loop, when a signal has come. Only in the main thread."""
        if self._signals is None:
            read, write = os.pipe()
            os.set_blocking(read, False)
            os.set_blocking(write, False)
            self._signals = {}
            signal.set_wakeup_fd(write, warn_on_full_buffer=False)
            self.add_reader(read, lambda: self._signalled(read))
        self._signals[number] = callback
        signal.signal(number, lambda signum, frame: None)  # the wake-up descriptor gets the number

    def _signalled(self, fd: int) -> None:
        for number in os.read(fd, 64):
            callback = (self._signals or {}).get(number)
            if callback is not None:
                callback()

    def stop(self) -> None:
        """Let `run` return after this turn."""
        self._running = False

    def run(self) -> None:
        """Turn until stopped."""
        for callback in self.after_reads:  # zmq sockets that were used before must be looked at before we sleep
            callback()
        while self._running:
            self.turn()

    def turn(self) -> None:
        """Wait until something happens, and call back for it."""
        timeout: float | None = None
        if self._timers:
            timeout = max(0.0, self._timers[0][0] - monotonic()) * self._per_second
        try:
            events = self._poller.poll(timeout)
        except InterruptedError:
            return
        self.is_alone = len(events) == 1
        for fd, event in events:
            if event & ~_WRITE:
                reader = self._readers.get(fd)  # gone if another callback of this turn removed it
                if reader is not None:
                    reader()
        for fd, event in events:
            if event & _WRITE:
                writer = self._writers.get(fd)
                if writer is not None:
                    writer()
        while self._timers and self._timers[0][0] <= monotonic():
            heapq.heappop(self._timers)[2]()
        for callback in self.after_reads:
            callback()
