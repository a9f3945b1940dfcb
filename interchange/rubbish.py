"""Messages and peers that are not what they should be: which they are, counting them, and telling of it.

Decoding finds what is not of the format (wire.py). What is left are records of the right form that nobody can act
upon; `check` finds those.
"""

from __future__ import annotations

import signal
from collections.abc import Callable

from parsl_pool.errors import BadMessage
from parsl_pool.interchange import wire
from parsl_pool.interchange.object_records import Object

_FROM_WORKERS = (wire.OK, wire.RAISED, wire.CANCELLED, wire.SKIPPED, wire.UNREADABLE, wire.UNSENDABLE)
_START_METHODS = ("fork", "forkserver", "spawn")


class Rubbish:
    """Counts what was dropped.

    Whoever can send rubbish can send a lot of it. So it tells of the first, the second, the fourth, the eighth, ...:
    enough to see that it happens, and not enough to fill a disk.
    """

    def __init__(self, tell: Callable[[str], None]) -> None:
        self._tell = tell
        self.count = 0

    def drop(self, reason: object) -> None:
        """One more was dropped, for this reason."""
        self.count += 1
        if self.count & (self.count - 1) == 0:
            so_far = "" if self.count == 1 else f" ({self.count} so far)"
            self._tell(f"dropped a bad message{so_far}: {reason}")


def check(record: wire.Record) -> None:
    """Look at values that would make whoever acts upon them fail.

    Raises:
        BadMessage: there is one.
    """
    good = True
    if isinstance(record, wire.Kill):
        good = record.status in (wire.KILLED, wire.TIMED_OUT)
    elif isinstance(record, wire.KillWorkers):
        good = record.signal in signal.valid_signals()
    elif isinstance(record, wire.Bulk):
        good = record.task >= 0 and record.status in _FROM_WORKERS
    elif isinstance(record, wire.FromTask):
        good = record.task > 0 and _is_topic(record.topic)
    elif isinstance(record, wire.ForTask):
        good = (record.task > 0 or (record.task == wire.NO_TASK and record.topic == wire.STOP)) and _is_topic(
            record.topic
        )
    elif isinstance(record, wire.Register):
        good = record.workers >= 0 and _is_pid(record.pid) and _is_line(record) and _has_amounts(record)
    elif isinstance(record, wire.Unfit):
        good = (record.host + record.block).isprintable()
    elif isinstance(record, wire.WorkerUp):
        good = record.worker >= 0 and _is_pid(record.pid)  # the client may signal it
    elif isinstance(record, Object):
        good = record.size > 0 or bool(record.reason)
    elif isinstance(record, wire.Notice):
        good = 0 < record.level <= 50
    elif isinstance(record, wire.Settings):
        good = (
            min(record.workers, record.cores_per_worker, record.memory_per_worker) >= 0
            and min(record.accelerator_count, record.prefetch) >= -1
            and min(record.max_tasks_per_child, record.drain_ms) >= 0
            and record.start_method in _START_METHODS
            and min(record.heartbeat_ms, record.threshold_ms) > 0
        )
    if not good:
        raise BadMessage(f"a {type(record).__name__} that nobody can act upon")


def may_have_memory(record: wire.Record, descriptors: int) -> bool:
    """True if so many descriptors may come with this message of a worker's."""
    if isinstance(record, wire.Bulk):
        return record.status != wire.SKIPPED
    return isinstance(record, wire.FromTask) and descriptors == 1 and not record.body


def _is_line(record: wire.Register) -> bool:
    """True if its texts can stand in a line."""
    return (record.host + record.block + record.python + record.version).isprintable()


def _is_topic(topic: str) -> bool:
    return 0 < len(topic) <= 64 and topic.isprintable()


def _is_pid(number: int) -> bool:
    return 0 < number < 1 << 31


def _has_amounts(record: wire.Register) -> bool:
    """True if it says what its node has, once it knows how many workers there are."""
    return not record.workers or (len(record.node) == 6 and min(record.node) >= 0)
