"""Finds the part of an object that can't be pickled, so that an error can name it.

Loaded only when pickling has failed. Whatever is called here is the user's, and may raise anything: all of it but
Ctrl-C is taken for an answer.
"""

from __future__ import annotations

import io
import pickle
import sys
from collections import deque
from collections.abc import Iterator
from functools import cache, partial
from types import CellType, CodeType, CoroutineType, FunctionType, GeneratorType, ModuleType
from typing import Any

from parsl_pool.errors import described, shown
from parsl_pool.interchange import own_globals

_DEPTH = 30
_ENDLESS_DEPTH = 3  # where there may be no end, some steps show the way
_TRIES = 5000
_STEP = 60  # characters of a key in a path
_PATH = 400
_REASON = 500
_PLAIN = frozenset({int, float, complex, bool, str, bytes, type(None)})  # nothing in these can fail

Part = tuple[str, object]


def unpicklable_part(
    value: object, problem: BaseException, awaited: tuple[type[Any], ...] = ()
) -> tuple[str, str]:
    """The attribute path from `value` to the innermost part that fails, and why that part fails.

    awaited: objects of these classes are not pickled, something else is sent in their place.
    The path is "" if the value itself is to blame, or nothing closer can be found.
    """
    search = _Search(awaited, value)
    path, reason = "", described(problem, _REASON)
    current, depth = value, 0
    while True:
        if depth >= (_DEPTH if "recursion" not in reason else _ENDLESS_DEPTH):
            search.is_complete = False
            break
        depth += 1
        if (advice := _advice(current)) is not None:
            return _shortened(path), advice
        found = search.failing_part_of(current)
        if found is None:
            break
        (step, current), reason = found
        path += step
    return _shortened(path), f"{reason} ({'it is' if search.is_complete else 'in'} a {type(current).__name__})"


class _Search:
    """Looks for what fails, one level after the other."""

    def __init__(self, awaited: tuple[type[Any], ...], value: object) -> None:
        self._awaited, self._tries = awaited, _TRIES
        self._seen = [value]  # kept, so that no other object gets the id of one
        self._ids = {id(value)}
        self.is_complete = True

    def failing_part_of(self, value: object) -> tuple[Part, str] | None:
        """The first part that fails by itself, with the text that leads to it, and why. None: there is none."""
        try:
            for step, part in _parts(value):
                if type(part) in _PLAIN or id(part) in self._ids:
                    continue
                self._tries -= 1
                if self._tries < 0:
                    self.is_complete = False
                    return None
                reason = _failure(part, self._awaited)
                if reason is not None:
                    self._ids.add(id(part))
                    self._seen.append(part)
                    return (step, part), reason
        except KeyboardInterrupt:
            raise
        except BaseException:  # a hostile property: what was found so far must do, the error tells that much
            self.is_complete = False
        return None


def _advice(value: object) -> str | None:
    """For what beginners put into functions, arguments and results; its inside is not of interest."""
    kind = type(value)
    if issubclass(kind, GeneratorType):
        return "a generator can't be pickled, so a generator function is no task; a list of its items can"
    if issubclass(kind, CoroutineType):
        return "a coroutine can't be pickled; a task is a plain function, which may call asyncio.run()"
    futures = sys.modules.get("concurrent.futures")
    if futures is None:
        return None
    if issubclass(kind, futures.Future):
        return "a future can't be pickled; give it to submit() as an argument: it is awaited, and its result passed on"
    if issubclass(kind, futures.Executor):
        return "a pool can't be sent to its workers; give futures as arguments instead of waiting in a task"
    return None


def _shortened(path: str) -> str:
    return path if len(path) <= _PATH else f"{path[: _PATH // 2]} ... {path[-_PATH // 2 :]}"


class _ByReference(pickle.Pickler):
    def __init__(self, awaited: tuple[type[Any], ...]) -> None:
        super().__init__(io.BytesIO(), 5)
        self._awaited = awaited

    def persistent_id(self, thing: object) -> int | None:
        return 0 if isinstance(thing, self._awaited) else None


@cache
def _by_value() -> type[Any]:
    import cloudpickle  # only when pickling has failed

    class ByValue(cloudpickle.Pickler):  # type: ignore[misc]  # cloudpickle has no types
        def __init__(self, awaited: tuple[type[Any], ...]) -> None:
            super().__init__(io.BytesIO(), 5)
            self._waited_for = awaited

        def persistent_id(self, thing: object) -> int | None:
            return 0 if isinstance(thing, self._waited_for) else None

    return ByValue


def _failure(part: object, awaited: tuple[type[Any], ...]) -> str | None:
    """Why it can't be pickled. A text: in a variable of our caller's, the error would make a cycle of frames."""
    try:
        _ByReference(awaited).dump(part)
        return None
    except KeyboardInterrupt:
        raise
    except BaseException:  # by value it may do
        try:
            _by_value()(awaited).dump(part)
            return None
        except KeyboardInterrupt:
            raise
        except BaseException as problem:  # handed to the caller, who reports it
            return described(problem, _REASON)


def _parts(value: object) -> Iterator[Part]:
    """What an object is made of, with the text that leads there. Raises whatever it likes."""
    if isinstance(value, dict):
        for key, item in list(value.items()):
            yield f"[{shown(key, _STEP)}]", item
            yield f" key {shown(key, _STEP)}", key
    elif isinstance(value, (list, tuple, deque)):
        for index, item in enumerate(list(value)):
            yield f"[{index}]", item
    elif isinstance(value, (set, frozenset)):
        for item in list(value):
            yield f" element {shown(item, _STEP)}", item
    elif isinstance(value, partial):
        yield from ((".func", value.func), (".args", value.args), (".keywords", value.keywords))
    elif isinstance(value, BaseException):
        yield ".args", value.args
    elif isinstance(value, CellType):
        yield ".cell_contents", value.cell_contents
    if isinstance(value, FunctionType):
        yield from _parts_of_function(value)
    elif isinstance(value, type):
        for name, item in list(vars(value).items()):
            if name not in ("__dict__", "__weakref__"):
                yield f".{name}", item
    else:
        yield from _attributes(value)


def _parts_of_function(function: FunctionType) -> Iterator[Part]:
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or ()):
        yield f" variable {name!r}", cell.cell_contents
    for name in _names(function.__code__):
        if name in function.__globals__ and type(function.__globals__[name]) not in own_globals.KINDS:
            yield f" global {name!r}", function.__globals__[name]
    yield from ((".__defaults__", function.__defaults__), (".__kwdefaults__", function.__kwdefaults__))
    yield ".__dict__", function.__dict__


def _names(code: CodeType) -> Iterator[str]:
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _names(constant)


def _attributes(value: object) -> Iterator[Part]:
    owner = getattr(value, "__self__", None)
    if owner is not None and not isinstance(owner, ModuleType):  # a method passes on what its function has
        yield ".__self__", owner
        return
    for name, item in list(getattr(value, "__dict__", {}).items()):
        yield f".{name}", item
    for cls in type(value).__mro__:
        slots = cls.__dict__.get("__slots__", ())
        for name in (slots,) if isinstance(slots, str) else slots:
            hidden = f"_{cls.__name__.lstrip('_')}{name}" if name[:2] == "__" != name[-2:] else name
            if hasattr(value, hidden):
                yield f".{hidden}", getattr(value, hidden)
    yield ".__class__", type(value)
    yield from _pickled_parts(value)


def _pickled_parts(value: object) -> Iterator[Part]:
    """Last, what pickle is given in its place, by classes that have their own way."""
    try:
        reduced = value.__reduce_ex__(5)
    except KeyboardInterrupt:
        raise
    except BaseException:  # so it is the object itself that fails, and no part of it
        return
    if isinstance(reduced, tuple):
        for part, name in zip(reduced[:3], ("constructor", "arguments", "state")):
            yield f" (its pickled {name})", part
