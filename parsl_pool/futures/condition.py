"""A condition for futures that most often nobody waits for: they only have callbacks."""

from __future__ import annotations

import threading
from typing import Any


class FutureCondition:
    """As much of a `threading.Condition` as futures and the standard library's `wait` use, in two objects.

    A real one is eight, of which the garbage collector looks at each again and again; it is made, around the same
    lock, when somebody waits.
    """

    __slots__ = ("_lock", "_real")

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._real: threading.Condition | None = None  # made by whoever holds the lock

    def acquire(self, blocking: bool = True, timeout: float = -1) -> bool:
        """As that of the lock."""
        return self._lock.acquire(blocking, timeout)

    def release(self) -> None:
        """As that of the lock."""
        self._lock.release()

    def __enter__(self) -> bool:
        return self._lock.__enter__()

    def __exit__(self, *exception: Any) -> None:
        self._lock.__exit__(*exception)

    def wait(self, timeout: float | None = None) -> bool:
        """Let go of the lock until somebody notifies; the caller holds it. False if the time was over before."""
        real = self._real
        if real is None:
            real = self._real = threading.Condition(self._lock)
        return real.wait(timeout)

    def notify_all(self) -> None:
        """Wake all that wait; the caller holds the lock."""
        if self._real is not None:
            self._real.notify_all()
