"""Join apps: what they return, and what becomes of it."""

from __future__ import annotations

from concurrent.futures import Future
from typing import Any

from parsl_pool.dataflow.traverse import futures_in, with_results
from parsl_pool.futures import AppFuture

_CONTAINERS = (list, tuple, set, frozenset, dict)


def joined_futures(value: Any, name: str) -> list[Future[Any]]:
    """The futures that a join app has returned.

    Raises:
        TypeError: it has returned none.
    """
    futures = futures_in(value)
    if not futures and not (isinstance(value, _CONTAINERS) and not value):
        raise TypeError(
            f"the join app {name} must return a future, or a container with futures in it, and returned {value!r:.200}"
        )
    return futures


def joined(value: Any) -> object:
    """The outcome of a task that waited for these futures: their values in their places, opened when asked for."""
    if isinstance(value, AppFuture):
        return value._data
    return Joined(value)


class Joined:
    """A nest of futures which all have a value."""

    __slots__ = ("_nest",)
    failed = False

    def __init__(self, nest: Any) -> None:
        self._nest = nest

    def open(self) -> Any:
        """The same nest of values."""
        return with_results(self._nest)
