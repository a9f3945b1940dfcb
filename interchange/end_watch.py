"""Notices the end of a process that is not our child: by its pidfd where the system has that, else by looking."""

from __future__ import annotations

import os
from collections.abc import Callable
from time import monotonic

from parsl_pool import portable
from parsl_pool.interchange.loop import Loop
from parsl_pool.interchange.stopped import is_there

_LOOK_S = 0.25


class EndWatch:
    """Calls `ended` once the process has ended, in a later turn of the loop; never after it was closed.

    Of one that cannot be seen from here, being in another process namespace, nothing is told.
    """

    __slots__ = ("_ended", "_is_closed", "_loop", "_pid", "_pidfd")

    def __init__(self, loop: Loop, pid: int, ended: Callable[[], None]) -> None:
        self._loop, self._pid, self._ended = loop, pid, ended
        self._pidfd = -1
        self._is_closed = False
        if not portable.has(os, "pidfd_open"):
            if is_there(pid):
                self._look_later()
            return
        try:
            self._pidfd = os.pidfd_open(pid)
        except OSError as problem:
            if isinstance(problem, ProcessLookupError) and portable.has_proc():
                loop.call_at(monotonic(), self._look)  # it has ended since it told its number
            return  # else it may be in another namespace, or no descriptor is free: heartbeats must do
        loop.add_reader(self._pidfd, self._tell)

    def _look_later(self) -> None:
        self._loop.call_at(monotonic() + _LOOK_S, self._look)

    def _look(self) -> None:
        if self._is_closed:
            return
        if is_there(self._pid):
            self._look_later()
        else:
            self._tell()

    def _tell(self) -> None:
        self.close()
        self._ended()

    def close(self) -> None:
        """Nobody wants to know any more."""
        self._is_closed = True
        if self._pidfd >= 0:
            self._loop.remove(self._pidfd)
            os.close(self._pidfd)
            self._pidfd = -1
