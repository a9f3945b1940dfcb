"""Which calls were made: results that are known, and calls that are under way.

    begin(key) ->  Hit(data)       done before: now, or in a loaded checkpoint
                   Running(token)  the same call is under way: wait for that one
                   MINE            nobody makes it: the caller does, and says done() or failed() at its end
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from threading import Lock
from typing import Any, NamedTuple, Protocol

from parsl_pool.memoization.keys import CallKey


class Hit(NamedTuple):
    """The call was made before, and this came of it."""

    data: Any


class Running(NamedTuple):
    """The same call is under way; the token is what its caller gave to `begin`."""

    token: Any


class Mine:
    """Nobody makes this call: whoever asked is to make it."""


MINE = Mine()


class Known(Protocol):
    """Results of other runs, as a loaded checkpoint has them. For any thread."""

    def get(self, digest: bytes) -> bytes | None:
        """The result of the call with that digest, as it was kept."""

    def calls_of(self, function: str) -> Iterator[CallKey]:
        """The calls of one function."""


class _Entry(NamedTuple):
    key: CallKey
    data: Any
    size: int


class MemoTable:
    """What is known of the calls of a run. For any thread.

    Args:
        known: where else to look for results; the first that has one wins.
        limit_bytes: how much results may take; those that were asked for longest ago are forgotten first.
        size_of: what a result takes, in bytes.
    """

    def __init__(
        self,
        known: Sequence[Known] = (),
        *,
        limit_bytes: int | None = None,
        size_of: Callable[[Any], int] | None = None,
    ) -> None:
        self._known = tuple(known)
        self._limit, self._size_of = limit_bytes, size_of or _size_of
        self._lock = Lock()  # guards all below; held for dictionary work alone
        self._done: dict[bytes, _Entry] = {}  # in the order of use, if there is a limit
        self._running: dict[bytes, Any] = {}
        self._size = 0

    def begin(self, key: CallKey, token: Any = None) -> Hit | Running | Mine:
        """What is known of a call, or MINE: then it is under way from now on, and others get the token."""
        data = self.find(key)
        if data is not None:
            return Hit(data)
        digest = key.digest
        with self._lock:
            entry = self._done.get(digest)
            if entry is not None:
                return Hit(entry.data)
            if digest in self._running:
                return Running(self._running[digest])
            self._running[digest] = token
            return MINE

    def find(self, key: CallKey) -> Any:
        """What came of a call; None if it is not known."""
        digest = key.digest
        entry = self._done.get(digest)  # without the lock: one step, and the usual one
        if entry is not None:
            if self._limit is not None:
                self._was_used(digest)
            return entry.data
        if self._known and digest not in self._running:
            data = self._look_elsewhere(digest)
            if data is not None:
                self._keep(key, data)
                return data
        return None

    def done(self, key: CallKey, data: Any) -> None:
        """The call was made, and this came of it. No longer under way."""
        self._keep(key, data)

    def failed(self, key: CallKey) -> None:
        """The call came to nothing: whoever asks next makes it anew."""
        with self._lock:
            self._running.pop(key.digest, None)

    def add_known(self, more: Known) -> None:
        """Look there too; what was known before wins."""
        with self._lock:
            self._known = (*self._known, more)

    def calls_of(self, function: str) -> list[CallKey]:
        """The calls of a function with known results, the oldest first."""
        with self._lock:
            here = [entry.key for entry in self._done.values() if entry.key.function == function]
        seen = {key.digest for key in here}
        return [key for known in self._known for key in known.calls_of(function) if key.digest not in seen] + here

    def __len__(self) -> int:
        return len(self._done)

    @property
    def size_bytes(self) -> int:
        """What the results take that are kept here."""
        return self._size

    def _was_used(self, digest: bytes) -> None:
        with self._lock:
            entry = self._done.pop(digest, None)
            if entry is not None:  # to the end of the order: used last, forgotten last
                self._done[digest] = entry

    def _look_elsewhere(self, digest: bytes) -> bytes | None:
        for known in self._known:
            data = known.get(digest)
            if data is not None:
                return data
        return None

    def _keep(self, key: CallKey, data: Any) -> None:
        entry = _Entry(key, data, self._size_of(data))
        with self._lock:
            self._running.pop(key.digest, None)
            old = self._done.pop(key.digest, None)
            self._size += entry.size - (old.size if old is not None else 0)
            self._done[key.digest] = entry
            while self._limit is not None and self._size > self._limit and self._done:
                self._size -= self._done.pop(next(iter(self._done))).size


def _size_of(data: Any) -> int:
    """Bytes are counted, others are taken for small."""
    if isinstance(data, memoryview):
        return data.nbytes
    return len(data) if isinstance(data, (bytes, bytearray)) else 256
