"""Shared memory for large arguments and results, used again and again.

The kernel takes four times as long to write to new pages as to pages that are there already. So memory that nobody
reads any more is kept for the next task.
"""

from __future__ import annotations

import os
from collections import deque
from typing import Any
from weakref import ref

from parsl_pool.interchange import serialize

BUDGET = 32 << 20
"""About so many bytes are kept at most."""

_MOST = 32  # pieces, and as many descriptors
_SMALLEST, _LARGEST = 1 << 18, 4 << 20  # of smaller ones the memory is not what costs; larger ones would be too few


class WarmMemory:
    """A few pieces of shared memory that nobody reads any more. Any thread may take and give.

    What results came in is lent to the tasks that are sent next, for their results. What is left serves arguments.
    """

    def __init__(self) -> None:
        self._free: deque[tuple[int, int]] = deque()  # descriptor and size
        self._of_results: deque[tuple[int, int]] = deque()
        self._kept = 0  # bytes in both, about: two threads may miscount
        self._closed = False
        # Arguments by identity. Not counters: any thread may drop the last reference to some, and has no lock then.
        self.out: dict[int, int] = {}  # those in shared memory, and their size
        self.unwritten: dict[int, bool] = {}  # those that are not there yet
        self.last: ref[list[Any]] | None = None  # the parts of a large one; any thread replaces it, in one step

    def write(self, payload: bytes | list[Any]) -> int:
        """A descriptor of memory that holds the payload; warm if there is some.

        Raises:
            OSError: no memory, or no descriptor left.
        """
        size = serialize.size_of(payload)
        fd = self._take(self._free) if _SMALLEST <= size <= _LARGEST else -1
        if fd < 0:
            return serialize.to_shared_memory(payload, "arguments")[1]
        serialize.write_again(fd, payload)
        return fd

    def lend(self) -> list[int]:
        """A descriptor for a result to come, if there is one; it is the worker's."""
        fd = self._take(self._of_results)
        return [fd] if fd >= 0 else []

    def _take(self, pieces: deque[tuple[int, int]]) -> int:
        try:
            fd, size = pieces.pop()
        except IndexError:
            return -1
        self._kept -= size
        return fd

    def give_back(self, fd: int, size: int, *, of_result: bool) -> None:
        """Keep this memory, or close it. It is the caller's word that no process will read it again."""
        full = self._kept + size > BUDGET or len(self._free) + len(self._of_results) >= _MOST
        if full or not _SMALLEST <= size <= _LARGEST:
            os.close(fd)
            return
        self._kept += size
        (self._of_results if of_result else self._free).append((fd, size))
        if self._closed:
            self.close()

    def close(self) -> None:
        """Let go of all, and keep nothing from now on."""
        self._closed = True
        for pieces in (self._free, self._of_results):
            while (fd := self._take(pieces)) >= 0:
                os.close(fd)
