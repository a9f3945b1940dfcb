"""What a process of the pool has to say, in a file of its own: for runs whose directory the user wants to keep.

Not by `logging`: that would add to the start of each interchange and manager, and keeps no file within bounds
without a fuss. What is logged is the lives of managers and workers and what goes wrong; nothing for each task.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from contextlib import suppress
from stat import S_IMODE, S_ISREG
from time import localtime, strftime, time
from types import TracebackType
from typing import Any

from parsl_pool.interchange import launch, wire

LIMIT = 5_000_000
"""Bytes of a log. When it is full it becomes NAME.1, in place of the one before, and a new one begins."""

_LEVELS = ((40, "ERROR"), (30, "WARNING"), (0, "INFO"))


class LogFile:
    """A log that never grows without bound, and never stops its process."""

    def __init__(self, path: str, complain: Callable[[str], None]) -> None:
        """Begin. complain: is told, once, that the file can't be written; nothing is logged from then on."""
        self.path, self._complain = path, complain
        self._fd, self._size = -1, 0
        try:
            self._open()
        except OSError as problem:
            self._give_up(problem)

    def _open(self) -> None:
        self._fd = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        state = os.fstat(self._fd)
        self._size = state.st_size
        if S_ISREG(state.st_mode) and S_IMODE(state.st_mode) != 0o600:  # an umask that takes it from ourselves, say
            with suppress(OSError):  # not every file system has modes
                os.fchmod(self._fd, 0o600)

    def line(self, text: str) -> None:
        """Append a line."""
        self.append(text.encode(errors="backslashreplace") + b"\n")

    def append(self, data: bytes) -> None:
        """Append these bytes."""
        if self._fd < 0:
            return
        try:
            if self._size + len(data) > LIMIT and self._size:
                os.rename(self.path, f"{self.path}.1")
                os.close(self._fd)
                self._fd = -1
                self._open()
            self._size += os.write(self._fd, data)
        except OSError as problem:  # no room, a vanished directory: what the process is there for goes on
            self.close()
            self._give_up(problem)

    def _give_up(self, problem: OSError) -> None:
        self._complain(f"cannot write the log {self.path}: {problem}; going on without it")

    @property
    def is_open(self) -> bool:
        """False if it can't be written."""
        return self._fd >= 0

    def close(self) -> None:
        """End."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


class ProcessLog:
    """The log of an interchange or a manager: nothing until `open`, for most runs have none."""

    def __init__(self, who: str) -> None:
        self._name, self._who = who, f"{who}[{os.getpid()}]"
        self._file: LogFile | None = None
        self._stderr: LogFile | None = None  # made when there is something for it
        self._directory = ""
        self._complain: Callable[[str], None] = lambda text: None
        self._source = ""
        self._tell = sys.excepthook  # what would be told of an error without a log

    def open(self, directory: str, complain: Callable[[str], None]) -> None:
        """Log from now on, if there is a directory to log to. Errors that end the process are logged, too."""
        if directory:
            self._directory, self._complain = directory, complain
            self._file = LogFile(os.path.join(directory, f"{self._name}.log"), complain)
            self._tell, sys.excepthook = sys.excepthook, self._died

    def write(self, text: str, level: int = 20) -> None:
        """Log something; levels are those of `logging`."""
        if self._file is not None:
            name = next(name for least, name in _LEVELS if level >= least)
            self._file.line(f"{now()} {name} {self._who} {text}")

    def note(self, record: Any) -> None:
        """Log what a message tells about managers and workers. Called for those that are no results."""
        if self._file is not None and (told := _told(record)) is not None:
            self.write(*told)

    def keep(self, source: str, data: bytes) -> None:
        """What a process wrote to stderr: in a file of its own, as it came, below a line that says whose it is."""
        if self._file is None or not self._file.is_open:  # where there is no log there will be none of this
            return
        if self._stderr is None:
            self._stderr = LogFile(os.path.join(self._directory, f"{self._name}.stderr"), self._complain)
        if source != self._source:
            self._source = source
            self._stderr.line(f"== {now()} {source}")
        self._stderr.append(data)

    def _died(self, kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        import traceback  # at the end only

        self.write("died:\n" + "".join(traceback.format_exception(kind, error, trace)).rstrip(), 40)
        self._tell(kind, error, trace)


def make_private(path: str) -> None:
    """Make a directory, and those above it that are missing, for this user alone, if that is possible.

    If it is not, who opens a log in it says so.
    """
    if os.path.isdir(path):
        return
    make_private(os.path.dirname(path))
    with suppress(OSError):
        os.mkdir(path, 0o700)
        os.chmod(path, 0o700)  # whatever the umask is


def now() -> str:
    """The time, as logs have it."""
    seconds = time()
    return f"{strftime('%Y-%m-%d %H:%M:%S', localtime(seconds))},{int(seconds % 1 * 1000):03}"


def _told(record: Any) -> tuple[str, int] | None:
    if isinstance(record, wire.Notice):
        return record.text, record.level
    if isinstance(record, wire.Dropped):
        return f"dropped a bad message: {record.reason}", 30
    if isinstance(record, wire.WorkerUp):
        return f"worker {record.worker} of manager {record.manager} is up: process {record.pid} on {record.host}", 20
    if isinstance(record, wire.WorkerGone):
        end = launch.describe_status(record.status)
        how, level = ("has ended", 20) if record.expected else ("was lost", 30)
        return f"worker {record.worker} of manager {record.manager} {how}: {end}", level
    if isinstance(record, wire.ManagerUp):
        return f"manager {record.manager} has registered: {record.workers} workers, block {record.block!r}", 20
    if isinstance(record, wire.ManagerRefused):
        return f"manager {record.manager} on {record.host} is refused: {record.reason}", 40
    if isinstance(record, wire.Draining):
        return f"manager {record.manager} takes no more tasks, and ends when it has finished: {record.reason}", 20
    if isinstance(record, wire.ManagerGone):
        tasks = len(record.tasks)
        had, level = (f"; it had {tasks} tasks", 30) if tasks or not record.expected else ("", 20)
        return f"manager {record.manager} on {record.host} is gone: {record.reason}{had}", level
    if isinstance(record, wire.Broken):
        return f"nothing can be run any more: {record.text}\n{record.traceback_text}".rstrip(), 40
    return None
