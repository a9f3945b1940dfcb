"""The running task of a thread, for `parsl_pool.task`: what it says is with its client at once."""

from __future__ import annotations

from time import monotonic, time
from typing import Any, Protocol

from parsl_pool.dataflow.record import TaskRecord
from parsl_pool.futures.told import Progress, known_of, told_by
from parsl_pool.interchange.serialize import join
from parsl_pool.interchange.task_face import LAST_PART, LAST_S, TaskFace
from parsl_pool.loggers import careful_logger

_log = careful_logger("parsl_pool.task")


class Place(Protocol):
    """The executor whose thread it is."""

    label: str
    is_stopping: bool

    @property
    def run_id(self) -> str: ...


class ThreadTask(TaskFace):
    """One try of a task, in the thread that runs it."""

    def __init__(self, place: Place, record: TaskRecord) -> None:
        self._place, self._record = place, record
        self.id, self.try_number = record.task, record.tries
        self.run_id, self.executor = place.run_id, place.label
        limit_s = record.options.walltime
        self._late = None if not limit_s else monotonic() + limit_s - min(LAST_PART * limit_s, LAST_S)
        told = known_of(record)
        self._restored: Any = told.state if told is not None and told.state is not None else b""

    def progress(self, fraction: float | None, text: str) -> None:
        """See the base class."""
        told_by(self._record).progress = Progress(fraction, text, time())

    def save(self, state: bytes | list[Any]) -> None:
        """See the base class."""
        told_by(self._record).state = join(state)

    def restored(self) -> bytes | memoryview:
        """See the base class."""
        state: bytes | memoryview = self._restored
        return state

    def should_stop(self) -> bool:
        """See the base class."""
        told = known_of(self._record)
        is_late = self._late is not None and monotonic() >= self._late
        return is_late or self._place.is_stopping or (told is not None and told.is_stopping)

    def log(self, level: int, text: str) -> None:
        """See the base class."""
        _log.log(level, "task %d (%s): %s", self.id, self._record.label, text)
