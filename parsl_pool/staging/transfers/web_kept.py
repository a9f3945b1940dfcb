"""Connections that a process keeps for a moment after a transfer, so that the next one can use them again.

A worker brings many files of the same servers, one task after another; and in one task several threads do. Each that
needs connections gets those of the process: `connections(options)`. When nobody has done so for a second, they end.
"""

from __future__ import annotations

import os
import time
from threading import Event, Lock, Thread
from typing import Any

from parsl_pool.staging.transfers.options import Transfer
from parsl_pool.staging.transfers.web_connections import Connections

KEPT_S = 1.0
"""Seconds that connections stay after they were asked for the last time; it may be half as long again."""

# What connections depend on beside the options: proxies, and whom OpenSSL trusts.
_VARIABLES = [
    spelled for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy") for spelled in (name, name.upper())
] + ["REQUEST_METHOD", "SSL_CERT_FILE", "SSL_CERT_DIR"]

_Key = tuple[Any, ...]


class _Kept:
    """The connections of a process."""

    def __init__(self) -> None:
        self._lock = Lock()  # guards what follows
        self._by_key: dict[_Key, Connections] = {}
        self._asked: dict[_Key, float] = {}  # when, the last time
        self._thread: Thread | None = None  # ends connections; there is one while there is something to end
        self._ends = Event()  # all are ended now

    def connections(self, options: Transfer) -> Connections:
        get = os.environ.get
        key = (options, *[get(name) for name in _VARIABLES])
        now = time.monotonic()
        with self._lock:
            self._asked[key] = now
            known = self._by_key.get(key)
        if known is not None:
            return known
        new = Connections(options)
        with self._lock:
            if self._thread is None:
                thread = Thread(target=self._end_what_is_old, name="parsl-pool-kept", daemon=True)
                thread.start()  # where it can't be started, nothing is kept; the next one may be
                self._thread = thread
            self._asked[key] = now
            known = self._by_key.setdefault(key, new)
        return known

    def _end_what_is_old(self) -> None:
        while True:
            self._ends.wait(KEPT_S / 2)
            oldest = time.monotonic() - KEPT_S
            with self._lock:
                keys = [key for key, asked in self._asked.items() if asked < oldest]
                over = self._taken(keys)
                is_last = not self._by_key
                if is_last:
                    self._thread = None
                self._ends.clear()
            for each in over:
                each.close()
            if is_last:
                return

    def _taken(self, keys: list[_Key]) -> list[Connections]:
        for key in keys:
            del self._asked[key]
        return [self._by_key.pop(key) for key in keys if key in self._by_key]

    def end(self) -> None:
        with self._lock:
            over = self._taken(list(self._asked))
            if self._thread is not None:
                self._ends.set()
        for each in over:
            each.close()


_kept = _Kept()


def connections(options: Transfer) -> Connections:
    """Those of this process, for transfers with these options."""
    return _kept.connections(options)


def end() -> None:
    """End those that nobody uses, now."""
    _kept.end()


def _after_fork_in_child() -> None:
    # They are the parent's, as is the thread; and the lock may be held by a thread that is not there.
    global _kept
    _kept = _Kept()


os.register_at_fork(after_in_child=_after_fork_in_child)
