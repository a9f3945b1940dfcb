"""Gives memory that lies free in this process back to the system, after there was much to hold.

Python frees its small objects by itself. What is larger, a frame above all, is freed to the C library, which keeps
pages for the next time: after a million queued tasks, tens of megabytes in each process. glibc can be told to let
go of them; other C libraries can't, or do it anyway.
"""

from __future__ import annotations

import os
import sys
from collections import deque
from itertools import filterfalse
from typing import Any

from parsl_pool import portable

_MUCH = 1 << 20
"""A dict is large if it has so many bytes: room for twenty thousand entries."""

_LOOK = 8 << 20
_GROWN = 16 << 20


class Ebb:
    """Gives memory back in a process that passes on what others send.

    It looks when nothing waits and 8 MB have come since it looked last, and acts if the process has grown: so it
    costs nothing while little is kept.
    """

    def __init__(self) -> None:
        self._size = resident()
        self._came = 0

    def came(self, size: int) -> None:
        """So many bytes have come."""
        self._came += size

    def nothing_waits(self) -> None:
        """All that came has been passed on."""
        if self._came < _LOOK:
            return
        self._came = 0
        if resident() > self._size + _GROWN:
            give_back()
            self._size = resident()


def resident() -> int:
    """How many bytes of memory this process has; 0 where nobody says."""
    if not portable.has_proc():
        return 0
    try:
        with open("/proc/self/statm", "rb") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return 0


def give_back() -> None:
    """Let go of free pages. Takes some milliseconds after a gigabyte was used, and next to nothing else."""
    if not portable.is_linux():
        return
    try:
        from ctypes import CDLL  # 10 ms, and 2 MB: only where there was more than that to give back

        trim = CDLL(None).malloc_trim
    except (ImportError, OSError, AttributeError):
        return  # an interpreter without ctypes, or musl
    trim(0)


def shrink_if_empty(table: dict[Any, Any]) -> bool:
    """Make an empty dict small again; it does not shrink when its entries go. True if it was large.

    Other threads may fill it meanwhile: whether it is empty is asked, and acted on, within one call into C.
    """
    if table or sys.getsizeof(table) < _MUCH:
        return False
    deque(map(dict.clear, filterfalse(None, (table,))), 0)
    return sys.getsizeof(table) < _MUCH
