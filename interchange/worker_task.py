"""The running task of a worker. Loaded when a task has something to say or to ask for the first time."""

from __future__ import annotations

from time import monotonic, monotonic_ns, time
from typing import TYPE_CHECKING, Any

from parsl_pool.interchange import worker
from parsl_pool.interchange.page import ALL, SINCE, STOP, TASK
from parsl_pool.interchange.resumed import Resumed
from parsl_pool.interchange.task_face import LAST_PART, LAST_S, LOG, PROGRESS, STATE, TaskFace, pack_progress
from parsl_pool.interchange.task_line import TaskLine

if TYPE_CHECKING:
    from parsl_pool.interchange.worker import Worker

_A_SECOND = 10  # messages about progress, and lines for the log
_PROGRESS_AT_ONCE, _LINES_AT_ONCE = 10, 100

_NOTHING = Resumed(0, 0, b"")


class Allowance:
    """So many at once, and so many a second after that."""

    def __init__(self, at_once: int, a_second: float) -> None:
        self._most, self._a_second = at_once, a_second
        self._left, self._at = float(at_once), monotonic()

    def take(self) -> bool:
        """True if one more is allowed now."""
        now = monotonic()
        self._left = min(self._most, self._left + (now - self._at) * self._a_second)
        self._at = now
        if self._left < 1:
            return False
        self._left -= 1
        return True


class WorkerTask(TaskFace):
    """Whatever task the worker is at, at the moment of asking."""

    def __init__(self, of: Worker) -> None:
        self.line = TaskLine(of)
        self._worker, self._words = of, of._words
        self._allow(0)
        self._left_out = 0  # lines for the log, since the last one that was sent
        self._withheld: tuple[int, float | None, float, str] | None = None  # the last progress, if it was not sent
        self.worker_rank, self.run_id, self.executor = of.rank, of.setup.run_id, of.setup.label

    # -- which one it is

    @property
    def _told(self) -> Resumed:
        task, told = self._worker.resumed
        return told if task == self._words[TASK] else _NOTHING

    @property
    def id(self) -> int:  # type: ignore[override]  # a number there
        """Number of the task, as in `future.tid`."""
        number: int = self._told.task or self._words[TASK]
        return number

    @property
    def try_number(self) -> int:  # type: ignore[override]  # a number there
        """Number of the try, from 0 on."""
        return int(self._told.number)

    # -- what it says

    def _allow(self, task: int) -> None:
        """Each task has allowances of its own: one that speaks once is to be heard, whatever the last one has said."""
        self._allowed = task
        self._may_tell = Allowance(_PROGRESS_AT_ONCE, _A_SECOND)
        self._may_log = Allowance(_LINES_AT_ONCE, _A_SECOND)

    def progress(self, fraction: float | None, text: str) -> None:
        """Tell the client, or remember it: what is remembered last is told when the task ends."""
        told = (self._words[TASK], fraction, time(), text)
        if told[0] != self._allowed:
            self._allow(told[0])
        if self._may_tell.take() and self.line.has_room():
            self._withheld = None
            self._tell(told)
        elif told[0]:
            self._withheld = told
            worker.at_end(self._end)

    def _tell(self, told: tuple[int, float | None, float, str]) -> None:
        self.line.send(PROGRESS, pack_progress(*told[1:]), task=told[0])

    def _end(self) -> None:
        """The task's function has ended; its result has not been told yet."""
        withheld, self._withheld = self._withheld, None
        if withheld is not None:
            self._tell(withheld)

    def save(self, state: bytes | list[Any]) -> None:
        """It has left this process when this returns."""
        self.line.send(STATE, state)

    def restored(self) -> bytes | memoryview:
        """See the base class."""
        state: bytes | memoryview = self._told.state
        return state

    def log(self, level: int, text: str) -> None:
        """Lines that come too fast are left out, and counted."""
        if self._words[TASK] != self._allowed:
            self._allow(self._words[TASK])
        if not self._may_log.take():
            self._left_out += 1
            return
        if self._left_out:
            text = f"{text} ({self._left_out} lines before this one were left out)"
            self._left_out = 0
        self.line.send(LOG, bytes((level,)) + text.encode("utf-8", "replace"))

    # -- what it is told

    def should_stop(self) -> bool:
        """Words of memory and the clock: no message, no system call."""
        task, asked = self._words[TASK], self._words[STOP]
        if task and (asked == task or asked == ALL):
            return True
        limit_s = self._worker.walltime_ms / 1000
        if not limit_s or not task:
            return False
        left_s = limit_s - (monotonic_ns() - self._words[SINCE]) / 1e9
        return bool(left_s <= min(LAST_PART * limit_s, LAST_S))


