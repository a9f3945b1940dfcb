"""The directory of a run: private, and gone when the run is over, also after a kill -9.

A temporary one is removed by whoever lives longest. If everybody was killed at once, the next start of the same
user finds it: a live run holds a lock on a file in its directory, which ends with the process, however it ends.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import stat
import tempfile
import threading

from parsl_pool.errors import ConfigurationError
from parsl_pool.loggers import careful_logger

log = careful_logger("parsl_pool.run_directory")

_PREFIX = "parsl-pool-"
_LOCK = "in-use"
JOBS_LEFT = "jobs-left"
"""A directory in which this file is is not swept: jobs may be left that only what is written there can name."""
_ROOM = b" " * 16384  # tickets and scripts need less: a file system that is full is to be noticed at once


class RunDirectory:
    """A directory for tickets, scripts and logs of one run.

    Attributes:
        path: absolute path; only this user can enter it.
        is_temporary: it is removed at the end.
    """

    def __init__(self, path: str | os.PathLike[str] | None = None, *, below: str | None = None) -> None:
        """Make it: below `path` as 000, 001, ..., or, if that is None, a temporary one.

        Args:
            below: where a temporary one is to be; None: in the usual place.

        Raises:
            ConfigurationError: it can't be made; the text has the path and the system's reason.
        """
        self.is_temporary = path is None
        self._given: dict[str, object] = {}
        try:
            where = "a temporary directory" if path is None else os.fspath(path)
            if path is None:
                where = below or tempfile.gettempdir()
                _sweep(where)
                self.path = tempfile.mkdtemp(prefix=_PREFIX, dir=where)
            else:
                self.path = _numbered(where)
            try:
                self._lock = _fill(self.path)
            except BaseException:  # passed on; a directory that is not locked would be nobody's
                shutil.rmtree(self.path, ignore_errors=True)
                raise
        except OSError as problem:
            raise ConfigurationError(
                f"cannot make a run directory in {where}: {problem}; give another one by run_dir="
            ) from problem

    def own_name(self, name: str) -> str:
        """`name`, or that with a number: nobody else of this run is given the same. Executors share the directory."""
        mine, number = object(), 0
        while True:
            candidate = f"{name}-{number}" if number else name
            if self._given.setdefault(candidate, mine) is mine:  # one step: threads may ask at the same time
                return candidate
            number += 1

    def close(self) -> None:
        """The run is over."""
        if self.is_temporary:
            shutil.rmtree(self.path, ignore_errors=True)
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1


class RunPlace:
    """Where a run's directory is, or will be: made for the first who needs it, closed by the last who had it."""

    def __init__(self, path: str | None) -> None:
        self.path = path
        self.run_id = os.urandom(4).hex()  # what tasks and their logs know the run by
        self._lock = threading.Lock()  # guards what follows
        self._directory: RunDirectory | None = None
        self._users = 0

    def enter(self) -> RunDirectory:
        """The directory. Raises ConfigurationError."""
        with self._lock:
            if self._directory is None:
                self._directory = RunDirectory(self.path)
            self._users += 1
            return self._directory

    def leave(self) -> None:
        """Whoever has entered needs it no more."""
        with self._lock:
            self._users -= 1
            if not self._users and self._directory is not None:
                self._directory.close()
                self._directory = None


def _fill(path: str) -> int:
    """Make the directory ours. Returns the descriptor of the locked file in it."""
    os.chmod(path, 0o700)  # whatever the umask is
    lock = os.open(os.path.join(path, _LOCK), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        os.fchmod(lock, 0o600)
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.write(lock, _ROOM)
    except BaseException:  # passed on; the descriptor must not stay open
        os.close(lock)
        raise
    return lock


def _numbered(base: str) -> str:
    base = os.path.abspath(base)
    _make_private(base)
    mode = os.stat(base).st_mode
    if mode & stat.S_IWOTH and not mode & stat.S_ISVTX:
        log.warning("run_dir: every user may write to %s, and so replace what is in it by something else", base)
    number = len(os.listdir(base))
    while True:
        path = os.path.join(base, f"{number:03}")
        try:
            os.mkdir(path, 0o700)
            return path
        except FileExistsError:
            number += 1


def _make_private(path: str) -> None:
    """Make a directory, and those above it that are missing, for this user alone, whatever the umask says."""
    if os.path.isdir(path):
        return
    _make_private(os.path.dirname(path))
    try:
        os.mkdir(path, 0o700)
    except FileExistsError:
        if not os.path.isdir(path):
            raise


def _sweep(where: str) -> None:
    """Remove what runs of this user have left there that were killed with all their processes."""
    try:
        entries = list(os.scandir(where))
    except OSError:
        return
    for entry in entries:
        if entry.name.startswith(_PREFIX) and _is_abandoned(entry):
            shutil.rmtree(entry.path, ignore_errors=True)


def goes_on(path: str) -> bool:
    """True while the run of this directory does."""
    try:
        fd = os.open(os.path.join(path, _LOCK), os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return False
    except BlockingIOError:
        return True
    finally:
        os.close(fd)


def _is_abandoned(entry: os.DirEntry[str]) -> bool:
    try:
        if not entry.is_dir(follow_symlinks=False) or entry.stat(follow_symlinks=False).st_uid != os.getuid():
            return False
        if os.path.exists(os.path.join(entry.path, JOBS_LEFT)):
            return False
        fd = os.open(os.path.join(entry.path, _LOCK), os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        return False  # not ours, or just being made
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return True
    except OSError:
        return False
    finally:
        os.close(fd)
