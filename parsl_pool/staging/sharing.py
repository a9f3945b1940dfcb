"""One transfer for all tasks that need the same file at the same time."""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable
from concurrent.futures import Future
from functools import partial
from itertools import count
from typing import Any

from parsl_pool.files import File
from parsl_pool.futures import AppFuture, Failure
from parsl_pool.futures.data_future import DataFuture


class StagedFile(DataFuture):
    """A file that is being brought; who brings it is known a moment later than this is."""

    number = 0  # of this use of the file

    def __init__(self, file: File) -> None:
        super().__init__(AppFuture(), file)

    def follow(self, bringing: Future[Any]) -> None:
        """It is done when that is, and fails as that does."""
        self.parent = bringing
        self._tid = getattr(bringing, "tid", 0)
        bringing.add_done_callback(self._written)
        if self.cancelled():  # whoever wanted it left while it was begun
            bringing.cancel()

    def failed(self, error: BaseException) -> None:
        """Nobody can bring it."""
        self.finish(Failure(error))


class _Entry:
    """One file, as those who use it now have it."""

    __slots__ = ("number", "staged", "users")

    def __init__(self, number: int) -> None:
        self.number = number  # tells this use of the URL from later ones, which may find other contents there
        self.staged: StagedFile | None = None
        self.users: dict[int, Future[Any]] = {}  # by id

    @property
    def is_used(self) -> bool:
        """Asked, and not told: who has a task's result may ask for the file again before the task's callbacks ran."""
        return any(not user.done() for user in self.users.values())


class Sharing:
    """Which files are in use, by tasks that are not done. Safe for any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()  # guards what follows
        self._entries: dict[Hashable, _Entry] = {}
        self._numbers = count(1)

    def number(self, key: Hashable, user: Future[Any]) -> int:
        """The same one for all who use the file while somebody else still does; then another one."""
        return self._use(key, user, None)[0].number

    def staged(self, key: Hashable, user: Future[Any], file: File, bring: Callable[[int], Future[Any]]) -> StagedFile:
        """The future of the file, which is being brought now if it wasn't. Raises what `bring` raises.

        Args:
            bring: called with the number of this use.
        """
        entry, mine = self._use(key, user, file)
        staged = entry.staged
        assert staged is not None  # made with the entry
        if mine:
            try:
                staged.follow(bring(entry.number))
            except BaseException as error:  # passed on; others may have it already
                staged.failed(error)
                self._forget(key, entry, even_if_used=True)
                raise
            staged.add_done_callback(partial(self._brought, key, entry))
        return staged

    def _use(self, key: Hashable, user: Future[Any], file: File | None) -> tuple[_Entry, bool]:
        made = StagedFile(file) if file is not None else None
        with self._lock:
            entry = self._entries.get(key)
            is_new = entry is None or not entry.is_used
            if entry is None or is_new:
                entry = self._entries[key] = _Entry(next(self._numbers))
                entry.staged = made
                if made is not None:
                    made.number = entry.number
            entry.users[id(user)] = user
        user.add_done_callback(partial(self._left, key, entry))
        return entry, is_new

    def _left(self, key: Hashable, entry: _Entry, user: Future[Any]) -> None:
        with self._lock:
            entry.users.pop(id(user), None)
            is_last = not entry.users
            if is_last and self._entries.get(key) is entry:
                del self._entries[key]
        if is_last and entry.staged is not None:
            entry.staged.cancel()  # nothing, if it is there already

    def _brought(self, key: Hashable, entry: _Entry, staged: Future[Any]) -> None:
        has_failed = isinstance(staged, AppFuture) and staged.has_failed()
        self._forget(key, entry, even_if_used=has_failed)  # what has failed is tried anew for the next who asks

    def _forget(self, key: Hashable, entry: _Entry, even_if_used: bool = False) -> None:
        with self._lock:
            if self._entries.get(key) is entry and (even_if_used or not entry.users):
                del self._entries[key]

    def __len__(self) -> int:
        return len(self._entries)
