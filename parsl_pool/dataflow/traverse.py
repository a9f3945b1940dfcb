"""Futures in containers: finding them, and putting results in their place. For backends that do not pickle."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from typing import Any


def futures_in(value: Any) -> list[Future[Any]]:
    """Every future in a value: itself, or at any depth of lists, tuples, sets, dicts. Each once, in order."""
    found: dict[int, Future[Any]] = {}
    _collect(value, found, set())
    return list(found.values())


def _collect(value: Any, found: dict[int, Future[Any]], seen: set[int]) -> None:
    if isinstance(value, Future):
        found[id(value)] = value
        return
    if not isinstance(value, (list, tuple, set, frozenset, dict)) or id(value) in seen:
        return
    seen.add(id(value))  # containers may contain themselves
    if isinstance(value, dict):
        for key, item in value.items():
            _collect(key, found, seen)
            _collect(item, found, seen)
    else:
        for item in value:
            _collect(item, found, seen)


def with_results(value: Any, result_of: Callable[[Future[Any]], Any]) -> Any:
    """The same value with results in the futures' places; containers without futures are left as they are."""
    if isinstance(value, Future):
        return result_of(value)
    if not isinstance(value, (list, tuple, set, frozenset, dict)) or not futures_in(value):
        return value
    if isinstance(value, dict):
        pairs = ((with_results(key, result_of), with_results(item, result_of)) for key, item in value.items())
        return type(value)(pairs) if type(value) is not dict else dict(pairs)
    items = [with_results(item, result_of) for item in value]
    if isinstance(value, tuple) and hasattr(value, "_fields"):  # a namedtuple takes its items one by one
        return type(value)(*items)
    return type(value)(items)
