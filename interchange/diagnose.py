"""Finds the part of an object that can't be pickled, so that an error can name it.

Loaded only when pickling has failed.
"""

from __future__ import annotations

import io
import pickle
import sys
from collections.abc import Iterator
from types import CoroutineType, GeneratorType
from typing import Any

_DEPTH = 8
_TRIES = 2000


def unpicklable_part(
    value: object, problem: BaseException, awaited: tuple[type[Any], ...] = ()
) -> tuple[str, str]:
    """The attribute path from `value` to the innermost part that fails, and why that part fails.

    awaited: objects of these classes are not pickled, something else is sent in their place.
    The path is "" if the value itself is to blame, or nothing closer can be found.
    """
    tries = [_TRIES]
    path, reason = "", _describe(problem)
    current, seen = value, {id(value)}
    for _ in range(_DEPTH):
        if (advice := _advice(current)) is not None:
            return path, advice
        for step, part in _parts(current):
            failure = None if id(part) in seen else _failure(part, tries, awaited)
            if failure is not None:
                seen.add(id(part))
                path, reason, current = path + step, failure, part
                break
        else:
            break
    is_to_blame = bool(path) or not any(True for _ in _parts(value))
    return path, f"{reason} ({'it is' if is_to_blame else 'in'} a {type(current).__name__})"


def _advice(value: object) -> str | None:
    """For what beginners put into functions, arguments and results; its inside is not of interest."""
    if isinstance(value, GeneratorType):
        return "a generator can't be pickled, so a generator function is no task; a list of its items can"
    if isinstance(value, CoroutineType):
        return "a coroutine can't be pickled; a task is a plain function, which may call asyncio.run()"
    futures = sys.modules.get("concurrent.futures")
    if futures is None:
        return None
    if isinstance(value, futures.Future):
        return "a future can't be pickled; give it to submit() as an argument: it is awaited, and its result passed on"
    if isinstance(value, futures.Executor):
        return "a pool can't be sent to its workers; give futures as arguments instead of waiting in a task"
    return None


def _describe(problem: BaseException) -> str:
    try:
        return f"{type(problem).__name__}: {problem}"
    except Exception:  # a __str__ of the user's; its class must do
        return type(problem).__name__


def _failure(part: object, tries: list[int], awaited: tuple[type[Any], ...]) -> str | None:
    """Why it can't be pickled. A text: in a variable of our caller's, the error would make a cycle of frames."""
    import cloudpickle  # only when pickling has failed

    tries[0] -= 1
    if tries[0] < 0:
        return None

    def persistent_id(pickler: object, thing: object) -> int | None:
        return 0 if isinstance(thing, awaited) else None

    try:
        type("ByReference", (pickle.Pickler,), {"persistent_id": persistent_id})(io.BytesIO(), 5).dump(part)
        return None
    except Exception:  # by value it may do
        try:
            type("ByValue", (cloudpickle.Pickler,), {"persistent_id": persistent_id})(io.BytesIO(), 5).dump(part)
            return None
        except Exception as problem:  # handed to the caller, who reports it
            return _describe(problem)


def _parts(value: object) -> Iterator[tuple[str, object]]:
    """What an object is made of, with the text that leads there."""
    try:
        if isinstance(value, dict):
            for key, item in list(value.items()):
                yield f"[{key!r}]", item
                yield f" key {key!r}", key
        elif isinstance(value, (list, tuple)):
            for index, item in enumerate(value):
                yield f"[{index}]", item
        elif isinstance(value, (set, frozenset)):
            for item in list(value):
                yield f" element {item!r}", item
        yield from _attributes(value)
    except Exception:  # a hostile __repr__ or property: what was found so far must do
        return


def _attributes(value: object) -> Iterator[tuple[str, object]]:
    if isinstance(value, type):
        return
    owner = getattr(value, "__self__", None)
    if owner is not None and not isinstance(owner, type(pickle)):  # first: a method passes on what its function has
        yield ".__self__", owner
        return
    closure = getattr(value, "__closure__", None)
    if closure:
        for name, cell in zip(value.__code__.co_freevars, closure):  # type: ignore[attr-defined]  # a function
            yield f" variable {name!r}", cell.cell_contents
    code = getattr(value, "__code__", None)
    if code is not None:
        module = getattr(value, "__globals__", {})
        for name in code.co_names:
            if name in module:
                yield f" global {name!r}", module[name]
        return
    for name, item in list(getattr(value, "__dict__", {}).items()):
        yield f".{name}", item
    for name in getattr(type(value), "__slots__", ()):
        if isinstance(name, str) and hasattr(value, name):
            yield f".{name}", getattr(value, name)
