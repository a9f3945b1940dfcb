"""How much the files of a working directory are, and which go when they are too much.

    DIRECTORY/.room                        at most so many bytes are here; and when all is to be counted again
    DIRECTORY/FILE/kept/                   what has been fetched; whoever fetches holds the lock in it
    DIRECTORY/FILE/USE/                    the same, by another link, for the tasks of one use; they hold the lock in it

Counting all takes long. So whoever brings a file adds it to the number in `.room`, and all is counted only when that is
too large, or when many files have come: who is killed may have added nothing.
"""

from __future__ import annotations

import errno
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import NamedTuple

from parsl_pool.staging import locks
from parsl_pool.staging.transfers.lasting import MARK, NOTES

KEPT = "kept"
IN_USE = ".parsl_pool-in-use"
"""In the folder of a use; it has a byte if the file has been brought ahead, and no task has used it yet."""
OUTPUT = ".parsl_pool-output"
"""In the folder of a file that a task writes and brings away itself; locked until it has."""
SENT = ".parsl_pool-sent"
"""In the folder of a file that a task has written, once another one has brought it away."""

_ROOM = ".room"
_GONE = ".gone-"  # and a number: taken away, and being removed
_COUNT_AFTER = 256  # files
_AWAITED_S = 3600.0  # whoever has waited that long for a file may have been killed


class Found(NamedTuple):
    """A file that has been brought, or sent."""

    folder: str
    is_awaited: bool
    used_ns: int  # when it was used last
    size: int  # bytes on the disk


def is_short(directory: str, most_bytes: int, more: int = 0) -> bool:
    """Whether there may be more than that: all should be counted. Raises OSError.

    Args:
        more: so many bytes have just come into the directory.
    """
    with _numbers(directory) as numbers:
        is_due = numbers.files + (more > 0) >= numbers.due
        if more or is_due:  # who finds that it is due does it; the others need not
            numbers.write(numbers.size + more, 0 if is_due else numbers.files + 1, numbers.due)
        return is_due or numbers.size > most_bytes


def make(directory: str, most_bytes: int, *, with_awaited: bool) -> bool:
    """Remove files that nobody uses until there are no more than so many bytes, the longest unused first.

    Args:
        with_awaited: those that tasks wait for, too, if it has to be; they will be brought once more.

    Returns:
        Whether that was enough. Raises OSError.
    """
    with _numbers(directory) as numbers:
        before = numbers.size
    files = sorted(found(directory), key=lambda each: (each.is_awaited, each.used_ns))
    total = sum(each.size for each in files)
    if total > most_bytes:
        wanted = most_bytes - most_bytes // 10  # not one file at a time: each time all are counted
        for file in files:
            if total <= wanted:
                break
            if (with_awaited or not file.is_awaited) and removed(file.folder):
                total -= file.size
    with _numbers(directory) as numbers:
        # What has come meanwhile may not have been counted. And counting is to stay a small part of all that is done.
        numbers.write(total + max(0, numbers.size - before), 0, max(_COUNT_AFTER, len(files)))
    return total <= most_bytes


def free(directory: str) -> int:
    """Remove a part of what nobody uses, for the disk is full. Returns the number of bytes. Raises OSError."""
    files = sorted(found(directory), key=lambda each: (each.is_awaited, each.used_ns))
    wanted, freed = sum(each.size for each in files) // 4, 0
    for file in files:
        if freed and freed >= wanted:
            break
        if file.size and removed(file.folder):
            freed += file.size
    return freed


def found(directory: str) -> Iterator[Found]:
    """The files that have been brought into a directory. What was left of others is removed on the way."""
    for entry in os.scandir(directory):
        if entry.name.startswith(_GONE):
            shutil.rmtree(entry.path, ignore_errors=True)  # who began to is gone, or faster
        elif os.path.exists(os.path.join(entry.path, KEPT, MARK)):
            yield _found(entry.path)
        elif os.path.exists(os.path.join(entry.path, SENT)):
            yield _counted(entry.path, [entry.path])
        elif os.path.exists(os.path.join(entry.path, OUTPUT)):
            with locks.alone_now(os.path.join(entry.path, OUTPUT)) as lock:
                if lock is not None:  # its task was killed
                    _take_away(entry.path)


def _found(folder: str) -> Found:
    return _counted(folder, [os.path.join(folder, KEPT), *uses(folder)])


def _counted(folder: str, parts: list[str]) -> Found:
    sizes: dict[int, int] = {}
    used_ns, is_awaited = 0, False
    for part in parts:
        for name in names_in(part):
            path = os.path.join(part, name)
            with suppress(FileNotFoundError):  # it has just been removed, or got another name
                state = os.lstat(path)
                if name in (IN_USE, MARK, SENT):
                    used_ns = max(used_ns, state.st_mtime_ns)
                    is_awaited = is_awaited or (name == IN_USE and _says_awaited(state))
                elif name not in NOTES:
                    sizes[state.st_ino] = size_of(state)  # links of one file are one
    return Found(folder, is_awaited, used_ns, sum(sizes.values()))


def _says_awaited(in_use: os.stat_result) -> bool:
    return in_use.st_size > 0 and time.time() - in_use.st_mtime < _AWAITED_S


def names_in(folder: str) -> list[str]:
    """The names in a folder; none if there is no such folder."""
    try:
        return os.listdir(folder)
    except (FileNotFoundError, NotADirectoryError):
        return []


def size_of(state: os.stat_result) -> int:
    """The bytes that a file takes: whole blocks; and holes count, for they may be filled."""
    return max(state.st_size, state.st_blocks * 512)


def removed(folder: str) -> bool:
    """Remove a file that has been brought, with all that is known of it; False: somebody has it."""
    if os.path.exists(os.path.join(folder, SENT)):
        with locks.alone_now(os.path.join(folder, SENT)) as lock:
            return lock is not None and _take_away(folder)
    with ExitStack() as stack:
        if stack.enter_context(locks.alone_now(os.path.join(folder, KEPT, MARK))) is None:
            return False
        # While that lock is held no file comes into a new use's folder; so these are all that matter.
        for use in uses(folder):
            if os.path.exists(os.path.join(use, IN_USE)):
                if stack.enter_context(locks.alone_now(os.path.join(use, IN_USE))) is None:
                    return False
        return _take_away(folder)


def remove_other_uses(folder: str, own: str) -> None:
    """Remove the folders of uses that are over. Whoever calls this holds the lock of `kept`."""
    for use in uses(folder):
        if use != own and not _is_awaited(use):
            with locks.alone_now(os.path.join(use, IN_USE)) as lock:
                if lock is not None:
                    _take_away(use, os.path.dirname(folder))


def _is_awaited(use: str) -> bool:
    try:
        return _says_awaited(os.stat(os.path.join(use, IN_USE)))
    except FileNotFoundError:
        return False


def uses(folder: str) -> list[str]:
    """The folders of a file's uses."""
    return [os.path.join(folder, name) for name in names_in(folder) if name != KEPT]


def _take_away(folder: str, directory: str = "") -> bool:
    """Remove a folder. In one moment it is away from its place, so nobody finds a half of it there."""
    gone = os.path.join(directory or os.path.dirname(folder), f"{_GONE}{os.urandom(8).hex()}")
    try:
        os.rename(folder, gone)
    except OSError:  # it is not ours, or gone
        return False
    shutil.rmtree(gone, ignore_errors=True)
    return True


class _Numbers:
    """What is in `.room`."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        try:
            self.size, self.files, self.due = map(int, os.pread(descriptor, 100, 0).split())
        except ValueError:  # a new one
            self.size = self.files = self.due = 0

    def write(self, size: int, files: int, due: int) -> None:
        """size: at most so many bytes are here. files: came since all was counted. due: after so many it is again."""
        self.size, self.files, self.due = size, files, due
        os.pwrite(self._descriptor, f"{size:<30} {files:<20} {due:<20}\n".encode(), 0)


@contextmanager
def _numbers(directory: str) -> Iterator[_Numbers]:
    """The numbers of a directory, nobody else's meanwhile. Raises OSError."""
    with locks.alone(os.path.join(directory, _ROOM)) as lock:
        if lock is None:
            raise FileNotFoundError(errno.ENOENT, "it has been removed while files were brought into it", directory)
        yield _Numbers(lock.descriptor)
