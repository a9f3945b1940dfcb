"""What a worker and its manager share: one page of numbers and a ring of results, and the claims table.

The worker writes down what it does *before* it does it, so that after its death the manager knows what it ran,
and finds the results it had not yet announced. Nobody waits for anybody: each number has one writer.

    words:  STARTED, TASK, SINCE, OUT, WRAP, SAID (worker)   CONSUMED, SKIP_FROM, SKIP_TO, HEARD, STOP (manager)
    ring:   records as in a RESULTS frame, from position `committed % RING_SIZE` on

The claims table has two bytes for each task: the worker marks the first when it takes the task, the client
marks the second to cancel it. Both sides write their mark first and read the other's after that, so at least
one of them sees the other. See `ClaimsTable.cancel` for why no memory barrier is needed.
"""

from __future__ import annotations

from collections.abc import Iterable
from mmap import mmap
from time import perf_counter_ns

from parsl_pool import portable
from parsl_pool.interchange.columns import RECORD
from parsl_pool.interchange.shared_memory import map_shared
from parsl_pool.interchange.wire import SKIPPED

# Positions of the words.
STARTED = 0  # how many tasks the worker has begun, in its life
TASK = 1  # the id of the running task, 0 for none
SINCE = 2  # time.monotonic_ns() when it began
OUT = 3  # bytes committed to the ring, since the worker began
CONSUMED = 4  # bytes of the ring that may be overwritten
SKIP_FROM = 5  # tasks with an index from SKIP_FROM up to SKIP_TO are not to be begun:
SKIP_TO = 6  # the manager has taken them back
WRAP = 7  # offset at which data ended when the ring last began anew
SAID = 8  # messages of tasks (FromTask) that the worker has sent, in its life: they come before the results after them
HEARD = 9  # how many of those need not be waited for any more: the client has them
STOP = 10  # the id of the task that is asked to stop, or ALL

ALL = (1 << 64) - 1

RING_START = 4096
RING_SIZE = 1 << 16
PAGE_SIZE = RING_START + RING_SIZE

STRONG_ORDER = portable.has_strong_order()
"""Stores become visible in program order, so another process may look into a page at any time. Elsewhere a
worker announces every result by a message, and pages are read only after that or after its death."""


class Page:
    """The manager's side of one worker's page."""

    __slots__ = ("_map", "fd", "position", "words")

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self._map = map_shared(fd, PAGE_SIZE)
        self.words = memoryview(self._map)[: 8 * 16].cast("Q")
        self.position = 0  # of the ring: what we have read so far

    def take(self, committed: int) -> bytes:
        """The records from where we stopped reading up to `committed`. They stay valid in the ring."""
        start, end = self.position, committed
        if start == end:
            return b""
        if not start < end <= start + RING_SIZE:
            raise ValueError(f"ring positions {start} and {end}")  # a task wrote over our memory
        self.position = end
        first, last = start % RING_SIZE, end % RING_SIZE
        if last == 0:  # the last record ended where the ring does
            return self._map[RING_START + first : RING_START + RING_SIZE]
        if start // RING_SIZE == end // RING_SIZE:
            return self._map[RING_START + first : RING_START + last]
        return self._map[RING_START + first : RING_START + self.words[WRAP]] + self._map[
            RING_START : RING_START + last
        ]

    def release(self) -> None:
        """Allow the worker to overwrite what we have read: the client has it."""
        self.words[CONSUMED] = self.position

    def close(self) -> None:
        """Unmap."""
        self.words.release()
        self._map.close()


def split_records(records: bytes) -> tuple[list[tuple[int, int]], bytes, bytes]:
    """From the records of a ring: pairs (id, status), the ids as a column, and the records for the client.

    Raises:
        ValueError: they are no records.
    """
    done: list[tuple[int, int]] = []
    position, end = 0, len(records)
    unpack = RECORD.unpack_from
    skipped = False
    while position < end:
        if end - position < 13:
            raise ValueError("a record is cut")
        task, size, status = unpack(records, position)
        position += 13 + size
        done.append((task, status))
        if status == SKIPPED:
            skipped = True
    if position != end:
        raise ValueError("a record is longer than what there is")
    if not skipped:
        return done, b"".join([task.to_bytes(8, "little") for task, _ in done]), records
    kept, position = [], 0
    for _, status in done:
        size = 13 + unpack(records, position)[1]
        if status != SKIPPED:
            kept.append(records[position : position + size])
        position += size
    ids = b"".join(record[:8] for record in kept)
    return done, ids, b"".join(kept)


CLAIM_SLOTS = 1 << 22
CLAIM_MASK = CLAIM_SLOTS - 1
CLAIMS_SIZE = 2 * CLAIM_SLOTS
CLAIMS_NAME = "claims"  # in the run's directory, where /proc does not show another process's descriptors
_SETTLE_NS = 20_000


def settle() -> None:
    """Wait until other processors see what this one has stored, and it sees theirs: stores wait for nanoseconds."""
    end = perf_counter_ns() + _SETTLE_NS
    while perf_counter_ns() < end:
        pass


class ClaimsTable:
    """Who came first for a task: the worker that begins it, or the client that cancels it.

    A mark holds the low bits of the task's number above the slot's, so a slot needs no clearing. Ids that are
    CLAIM_SLOTS apart share a slot; the client never has two of them outstanding at once.
    """

    __slots__ = ("_map", "cancels", "claims")

    def __init__(self, memory: mmap) -> None:
        self._map = memory
        view = memoryview(memory)
        self.claims = view[:CLAIM_SLOTS]
        self.cancels = view[CLAIM_SLOTS:CLAIMS_SIZE]

    def is_claimed(self, task: int) -> bool:
        """True if a worker has taken this task."""
        return self.claims[task & CLAIM_MASK] == mark_of(task)

    def cancel(self, task: int) -> bool:
        """Mark a task as cancelled. True: no worker will begin it. False: a worker may have.

        A worker writes its claim, then reads the cancel mark. If it read the mark too early to see ours, its
        claim was already on the way out of its processor, and is visible to us long before we look: stores
        stay in a processor's buffer for nanoseconds, we look after 20 us. So no barrier is needed.
        """
        return bool(self.cancel_all([task]))

    def cancel_all(self, tasks: Iterable[int]) -> list[int]:
        """Cancel many, and wait once: those that no worker will begin."""
        marked = [task for task in tasks if not self.is_claimed(task)]
        for task in marked:
            self.cancels[task & CLAIM_MASK] = mark_of(task)
        if marked:
            settle()
        cancelled = []
        for task in marked:
            if self.is_claimed(task):
                self.forget(task)
            else:
                cancelled.append(task)
        return cancelled

    def claim_all(self, tasks: Iterable[int]) -> list[int]:
        """Claim for workers elsewhere, as each of them does by itself here: those that were cancelled before."""
        claims, cancels = self.claims, self.cancels
        cancelled = []
        for task in tasks:
            slot, mark = task & CLAIM_MASK, mark_of(task)
            claims[slot] = mark
            if cancels[slot] == mark:
                cancelled.append(task)
        return cancelled

    def forget(self, task: int) -> None:
        """Take back a mark that has done its work, or will do none: in 255 laps it would cancel another task."""
        slot = task & CLAIM_MASK
        if self.cancels[slot] == mark_of(task):
            self.cancels[slot] = 0

    def close(self) -> None:
        """Unmap."""
        self.claims.release()
        self.cancels.release()
        self._map.close()


def mark_of(task: int) -> int:
    """What both tables hold for a task: 1 to 255."""
    return (task >> 22) % 255 + 1
