"""Futures in containers: finding them, and putting results in their place. For backends that do not pickle."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import Future
from copy import copy
from dataclasses import fields, is_dataclass
from typing import Any

from parsl_pool.errors import DataFlowException

Kinds = type[Any] | tuple[type[Any], ...]


def futures_in(value: Any) -> list[Future[Any]]:
    """Every future in a value: itself, or at any depth of lists, tuples, sets, dicts, dataclasses. Each once, in
    order."""
    return things_in(value, Future)


def things_in(value: Any, kinds: Kinds) -> list[Any]:
    """The same for objects of other classes."""
    found: dict[int, Any] = {}
    _collect(value, kinds, found, {})
    return list(found.values())


def _parts(value: Any) -> Iterable[Any] | None:
    """What a container holds; None for everything else."""
    if isinstance(value, dict):
        return [part for pair in value.items() for part in pair]
    if isinstance(value, (list, tuple, set, frozenset)):
        return value
    if is_dataclass(value) and not isinstance(value, type):
        return [getattr(value, field.name, None) for field in fields(value)]
    return None


def _collect(value: Any, kinds: Kinds, found: dict[int, Any], seen: dict[int, bool]) -> bool:
    """Finds objects of these classes. `seen`: container -> whether there are some in it."""
    if isinstance(value, kinds):
        found[id(value)] = value
        return True
    parts = _parts(value)
    if parts is None:
        return False
    me = id(value)
    if me not in seen:
        seen[me] = True  # until we know: containers may contain themselves
        seen[me] = any([_collect(part, kinds, found, seen) for part in parts])
    return seen[me]


def result_of_done(future: Future[Any]) -> Any:
    """The result of a future that was waited for.

    Raises:
        DataFlowException: it is not done, so it was put there later. It may be the task's own: do not wait for it.
        BaseException: what the future has as its error.
    """
    if not future.done():
        raise DataFlowException(
            f"{future!r} was put into an argument after the submit, so that nobody has waited for it: pass a list that "
            "is not changed any more"
        )
    return future.result()


def with_results(value: Any, result_of: Callable[[Future[Any]], Any] = result_of_done) -> Any:
    """The same value with results in the futures' places; containers without futures are left as they are."""
    return with_replaced(value, Future, result_of)


def with_replaced(value: Any, kinds: Kinds, replace: Callable[[Any], Any]) -> Any:
    """The same for objects of other classes: with what `replace` makes of each in its place."""
    found: dict[int, Any] = {}
    seen: dict[int, bool] = {}
    _collect(value, kinds, found, seen)
    if not found:
        return value
    return _replaced(value, {key: replace(thing) for key, thing in found.items()}, seen, {})


def _replaced(value: Any, by_id: dict[int, Any], with_some: dict[int, bool], done: dict[int, Any]) -> Any:
    if id(value) in by_id:
        return by_id[id(value)]
    if not with_some.get(id(value)):
        return value
    if id(value) in done:
        return done[id(value)]

    def replaced(part: Any) -> Any:
        return _replaced(part, by_id, with_some, done)

    if isinstance(value, tuple):
        items = map(replaced, value)
        return type(value)(*items) if hasattr(value, "_fields") else type(value)(items)
    if isinstance(value, frozenset):
        return type(value)(map(replaced, value))
    new = done[id(value)] = copy(value)
    if isinstance(value, dict):
        new.clear()
        new.update((replaced(key), replaced(item)) for key, item in value.items())
    elif isinstance(value, set):
        new.clear()
        new.update(map(replaced, value))
    elif isinstance(value, list):
        new[:] = map(replaced, value)
    else:
        for field in fields(value):
            if hasattr(value, field.name):
                object.__setattr__(new, field.name, replaced(getattr(value, field.name)))  # it may be frozen
    return new


class ObjectCall:
    """A call whose arguments stay the objects that they are."""

    __slots__ = ("args", "fn", "futures", "kwargs")

    def __init__(self, fn: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self.fn, self.args, self.kwargs = fn, args, kwargs
        self.futures = futures_in((args, kwargs))

    def values(self) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """The arguments with the futures' results in their places. Raises what their opening raises."""
        values: tuple[tuple[Any, ...], dict[str, Any]] = with_results((self.args, self.kwargs))
        return values
