"""Parts of a value that is still to come: `future["key"]` and `future.name` are futures too."""

from __future__ import annotations

from concurrent.futures import Future
from typing import Any


class Lifted:
    """The outcome of a lifted future: a part of its parent's value, taken when somebody asks."""

    __slots__ = ("_key", "_kind", "_parent")
    may_raise = True

    def __init__(self, parent: Any, kind: str, key: Any) -> None:
        self._parent, self._kind, self._key = parent, kind, key

    @property
    def failed(self) -> bool:
        """True if the parent has; whether it has that part is known only when it is opened."""
        return bool(self._parent.has_failed())

    def open(self) -> Any:
        """The part. Raises the parent's error, or that it has no such part."""
        value = self._parent.result(0)
        return value[self._key] if self._kind == "item" else getattr(value, self._key)


class _LiftedOwner:
    """Moves lifted futures: they end with their parents."""

    def cancel(self, future: Any) -> bool:
        """Only this part: the task goes on."""
        return True

    def kill(self, future: Any) -> bool:
        """There is nothing to stop."""
        return False

    def needs_of(self, future: Any) -> list[Future[Any]]:
        """Its parent."""
        outcome = future._data  # None once it is cancelled
        return [outcome._parent] if outcome is not None else []

    def is_running(self, future: Any) -> bool:
        """It takes no time."""
        return False

    def failure_seen(self, future: Any) -> None:
        """Its parent's failure has been seen with it; one of its own need not be told."""

    def name_of(self, future: Any) -> str:
        """Nothing more than its parent's number."""
        return "a part of its result"

    def pump(self, future: Any, deadline: float | None) -> bool:
        """Others bring the parent's result."""
        return False


_OWNER = _LiftedOwner()


def lift(future: Any, parent: Any, kind: str, key: Any) -> None:
    """Make a new future one of `parent.result()[key]` (kind "item"), or of its attribute `key` ("attribute").

    Both are AppFutures; that module loads this one.
    """
    future._tid = parent.tid
    future._owner = _OWNER
    outcome = future._data = Lifted(parent, kind, key)

    def ended(_: Future[Any]) -> None:
        if parent.cancelled():
            future._become_cancelled()
        else:
            future.finish(outcome)

    parent.add_done_callback(ended)


