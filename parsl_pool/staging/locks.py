"""Locks of files (flock): they end with the process that holds them, however it ends.

Whoever has a lock looks whether its file still is where it was: a folder may be taken away with the locks in it.
"""

from __future__ import annotations

import errno
import fcntl
import os
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager

from parsl_pool import portable

_NO_LOCKS = {errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOLCK, errno.EINVAL}
_WEAK = re.compile(r"(?:^|,)(?:nolock|local_lock=(?:all|flock)|localflock|nobrl)(?:,|$)")


class Lock:
    """One that is held."""

    def __init__(self, descriptor: int, path: str) -> None:
        self.descriptor, self._path = descriptor, path

    @property
    def is_good(self) -> bool:
        """False: its file has been taken away, and others may have a lock of that name."""
        try:
            return os.path.samestat(os.fstat(self.descriptor), os.stat(self._path))
        except FileNotFoundError:
            return False

    def touch(self) -> None:
        """Note that it is used now."""
        now = time.time_ns()  # the system's own would tell no two uses in the same few milliseconds apart
        os.utime(self.descriptor, ns=(now, now))


@contextmanager
def shared(path: str) -> Iterator[Lock | None]:
    """Held with all others who share it. None: its folder is gone. Raises OSError."""
    with _held(path, fcntl.LOCK_SH) as lock:
        yield lock


@contextmanager
def alone(path: str) -> Iterator[Lock | None]:
    """Held alone; whoever holds it is waited for. None: its folder is gone. Raises OSError."""
    with _held(path, fcntl.LOCK_EX) as lock:
        yield lock


@contextmanager
def alone_now(path: str) -> Iterator[Lock | None]:
    """Held alone. None: somebody holds it, or there is no such lock."""
    with _held(path, fcntl.LOCK_EX | fcntl.LOCK_NB) as lock:
        yield lock


@contextmanager
def _held(path: str, how: int) -> Iterator[Lock | None]:
    made = 0 if how & fcntl.LOCK_NB else os.O_CREAT
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC | made, 0o600)
    except FileNotFoundError:
        yield None
        return
    try:
        try:
            fcntl.flock(descriptor, how)
        except BlockingIOError:
            yield None
            return
        lock = Lock(descriptor, path)
        yield lock if lock.is_good else None
    finally:
        os.close(descriptor)


def are_good(folder: str) -> bool:
    """Whether a lock in that folder is one for all who see the folder, as far as the system tells. Raises OSError."""
    device = os.stat(folder).st_dev
    if device not in _good:
        _good[device] = not is_weak(_mount_options(device)) and _can_lock(folder)
    return _good[device]


_good: dict[int, bool] = {}
"""By device. No lock: who is slower writes the same."""


def _can_lock(folder: str) -> bool:
    descriptor = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError as problem:
        if problem.errno not in _NO_LOCKS:
            raise
        return False
    finally:
        os.close(descriptor)
    return True


def is_weak(options: str) -> bool:
    """Whether a file system mounted so keeps locks to each of its hosts. nfs(5), mount.lustre(8), mount.cifs(8)."""
    return _WEAK.search(options) is not None


def _mount_options(device: int) -> str:
    """proc(5), /proc/pid/mountinfo: the third field is the device; the last ones, after a hyphen, the file system's."""
    if not portable.has_proc():
        return ""
    wanted = f"{os.major(device)}:{os.minor(device)}"
    with open("/proc/self/mountinfo", encoding="utf-8", errors="replace") as lines:
        for line in lines:
            fields = line.split()
            if len(fields) > 2 and fields[2] == wanted and "-" in fields:
                return f"{fields[5]},{fields[-1]}"
    return ""
