"""Files that come to tasks: fetched once, kept while they are used, and afterwards as long as there is room.

Each file has a folder, `kept`, into which it is fetched by one process at a time, and in which it stays: who needs it
later asks the server whether it still is what it was, and goes on with the part of it that somebody killed has left.
From there it has a link for each use, which is the time in which some tasks of one program use it: they all see the
same, whatever becomes of the original meanwhile. (`room.py` has a picture of it.)

All this is by locks of files, so it holds among processes that know nothing of each other, and one that dies leaves no
lock behind. Where the file system has none that all its hosts see, each use fetches for itself, and nothing is removed.
"""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TypeVar

from parsl_pool.errors import TransferFailed, described
from parsl_pool.staging import locks, room
from parsl_pool.staging.folders import made
from parsl_pool.staging.transfers import lasting
from parsl_pool.staging.transfers.urls import shown

T = TypeVar("T")

_FULL = {errno.ENOSPC, errno.EDQUOT}


class Wanted:
    """A file that tasks need.

    Attributes:
        path: where they find it: DIRECTORY/FILE/USE/NAME.
        fetch: puts it at the path that it is given, whole or not at all.
        most_bytes: files that nobody uses are removed when there are more bytes than that in the directory.
        use, folder, directory: what is above the path.
        kept, nursery: where it is fetched to, and the folder of that.
    """

    def __init__(self, url: str, path: str, fetch: Callable[[Path], object], most_bytes: int) -> None:
        self.url, self.path, self.fetch, self.most_bytes = url, path, fetch, most_bytes
        self.use, name = os.path.split(path)
        self.folder = os.path.dirname(self.use)
        self.directory = os.path.dirname(self.folder)
        self.nursery = os.path.join(self.folder, room.KEPT)
        self.kept = os.path.join(self.nursery, f"_{name}" if name in lasting.OWN else name)

    def failed(self, reason: str) -> TransferFailed:
        return TransferFailed(shown(self.url), reason)


@contextmanager
def used(wanted: Wanted) -> Iterator[None]:
    """A file that is there, and stays, as long as this lasts. Raises what fetching it raises, and TransferFailed."""
    if not _can_lock(wanted):
        if not os.path.exists(wanted.path):
            _fetch_alone(wanted)
        yield
        return
    while True:
        with ExitStack() as held:
            lock = _with_room(wanted, lambda: _hold(wanted, held))
            if lock is not None and (os.path.exists(wanted.path) or _bring(wanted, lock, held)):
                os.ftruncate(lock.descriptor, 0)  # it is awaited no more
                lock.touch()
                try:
                    yield
                finally:
                    lock.touch()
                return


def bring_ahead(wanted: Wanted) -> bool:
    """Bring a file for tasks that come later; False: there is no room, and they have to do it.

    Raises what fetching it raises, and TransferFailed.
    """
    if not _can_lock(wanted):
        if not os.path.exists(wanted.path):
            _fetch_alone(wanted)
        return True
    while True:
        with ExitStack() as held:
            lock = _with_room(wanted, lambda: _hold(wanted, held))
            if lock is None:
                continue
            if not os.path.exists(wanted.path):
                if not _has_room(wanted):
                    return False
                if not _bring(wanted, lock, held, is_ahead=True):
                    continue
                os.ftruncate(lock.descriptor, 1)
                lock.touch()
            return True


def _can_lock(wanted: Wanted) -> bool:
    def asked() -> bool:
        made(wanted.directory)
        return locks.are_good(wanted.directory)

    return _with_room(wanted, asked)


def _hold(wanted: Wanted, held: ExitStack) -> locks.Lock | None:
    """Say that the file is used; None: it has been removed in this moment."""
    made(wanted.use)
    return held.enter_context(locks.shared(os.path.join(wanted.use, room.IN_USE)))


def _with_room(wanted: Wanted, work: Callable[[], T]) -> T:
    """Do this side's work; others' files are removed if the disk is full. Raises TransferFailed."""
    while True:
        try:
            return work()
        except OSError as problem:
            if not (problem.errno in _FULL and room.free(wanted.directory)):
                where = f"could not be brought to {wanted.path}: {wanted.directory} can't be written to"
                raise wanted.failed(f"{where}: {described(problem)}") from problem


def _bring(wanted: Wanted, mine: locks.Lock, held: ExitStack, *, is_ahead: bool = False) -> bool:
    """Put the file at its path; False: its folder has been removed in this moment, and all begins anew.

    Args:
        held: what holds the lock; closed if the file can't be brought.
        is_ahead: what other tasks wait for does not go for its sake.
    """
    try:
        return _brought(wanted, mine, is_ahead)
    except BaseException:  # passed on
        held.close()
        if set(room.names_in(wanted.nursery)) <= {lasting.MARK}:
            room.removed(wanted.folder)  # there is nothing in it that the next one could go on with
        raise


def _brought(wanted: Wanted, mine: locks.Lock, is_ahead: bool) -> bool:
    with ExitStack() as held:

        def alone() -> locks.Lock | None:
            made(wanted.nursery)
            return held.enter_context(locks.alone(os.path.join(wanted.nursery, lasting.MARK)))

        lock = _with_room(wanted, alone)
        if lock is None or not mine.is_good:
            return False
        if os.path.exists(wanted.path):  # somebody has just brought it
            return True
        lock.touch()
        _remove_leftovers(wanted)
        _as_long_as_there_is_room(wanted)
        size = room.size_of(os.stat(wanted.path))
    if _with_room(wanted, lambda: room.is_short(wanted.directory, wanted.most_bytes, size)):
        _with_room(wanted, lambda: room.make(wanted.directory, wanted.most_bytes, with_awaited=not is_ahead))
    return True


def _has_room(wanted: Wanted) -> bool:
    """Whether there is, when all that nobody needs has been removed."""

    def is_made() -> bool:
        if not room.is_short(wanted.directory, wanted.most_bytes):
            return True
        return room.make(wanted.directory, wanted.most_bytes, with_awaited=False)

    return _with_room(wanted, is_made)


def _remove_leftovers(wanted: Wanted) -> None:
    """Uses that are over, and what processes that were killed have left."""
    room.remove_other_uses(wanted.folder, wanted.use)
    for name in set(room.names_in(wanted.nursery)) - lasting.OWN - {os.path.basename(wanted.kept)}:
        path = os.path.join(wanted.nursery, name)
        if os.path.isdir(path):
            shutil.rmtree(path, ignore_errors=True)
        else:
            with suppress(OSError):
                os.unlink(path)


def _as_long_as_there_is_room(wanted: Wanted) -> None:
    """Fetch it, and remove others if the disk is full."""
    while True:
        try:
            wanted.fetch(Path(wanted.kept))
            _hand_over(wanted)
            return
        except Exception as problem:  # passed on
            if not _is_full(problem):
                raise
            for name in (lasting.PART, lasting.PART_S_VERSION):
                with suppress(OSError):
                    os.unlink(os.path.join(wanted.nursery, name))
            if not room.free(wanted.directory):
                said = f"could not be brought to {wanted.path}: {described(problem)}"
                raise wanted.failed(
                    f"{getattr(problem, 'reason', said)}; nothing in {wanted.directory} could be removed to make room: "
                    "the other files that were brought there are in use"
                ) from problem


def _is_full(problem: BaseException | None) -> bool:
    while problem is not None:
        if isinstance(problem, OSError) and problem.errno in _FULL:
            return True
        problem = problem.__cause__ or problem.__context__
    return False


def _hand_over(wanted: Wanted) -> None:
    """Give the file that has been fetched its link for this use. Raises OSError, TransferFailed."""
    if not os.path.exists(wanted.kept):
        raise wanted.failed(f"could not be brought to {wanted.path}: whoever should fetch it has not said why")
    if lasting.version_of(Path(wanted.kept)):
        try:
            os.link(wanted.kept, wanted.path)
            return
        except OSError as problem:
            if problem.errno in _FULL:
                raise
            # This file system has no links, or no more of them.
    os.replace(wanted.kept, wanted.path)  # nobody could say later whether it still is what it was


def _fetch_alone(wanted: Wanted) -> None:
    """Without locks: what others do at the same time is written to other names."""
    made(wanted.use)
    wanted.fetch(Path(wanted.path))
