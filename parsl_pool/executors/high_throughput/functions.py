"""Callables and the numbers by which tasks name them.

A function is pickled once and sent to each manager once. It is pickled again only when it may have changed:
never if it goes by reference; if it goes by value, when something it refers to is not the same object any more,
or could have changed inside. What comes out the same, byte for byte, keeps its number.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from pickle import dumps
from threading import get_ident
from types import BuiltinFunctionType, CodeType, FunctionType, ModuleType
from typing import Any

from parsl_pool.errors import SerializationError
from parsl_pool.interchange import own_globals, serialize

_IMMUTABLE = (int, float, complex, str, bytes, bool, type(None), CodeType)
_KEEP_BYTES = 1 << 26
_KEEP_COUNT = 4096
_LONGEST_NAME = 200
_RUN_PATH = "<run_path>"  # what runpy.run_path() calls a program while it runs; nobody else has a module of that name


class _ByValue:
    """A function that goes by value: its number, and what it referred to when it was pickled."""

    __slots__ = ("number", "parts")

    def __init__(self, number: int, parts: list[Any]) -> None:
        self.number, self.parts = number, parts


class Functions:
    """The callables of one pool."""

    def __init__(self, define: Callable[[int, bytes], None]) -> None:
        self._define = define  # sends a new function on its way; called under our lock, must only queue it
        self.fixed: dict[Any, int] = {}
        """Functions and classes that go by reference, hence never change -> number."""
        self._by_value: dict[int, tuple[Any, _ByValue]] = {}  # id -> the function, what is known of it
        self._numbers: dict[bytes, int] = {}  # digest -> number
        self.data: dict[int, bytes] = {}
        """Number -> bytes as in a Function record: what a new interchange has to be told."""
        self.was_pickled: Callable[[Any, int], object] = lambda function, size: None
        """Told of every function that was large when it was pickled by value, and how large."""
        self._last: tuple[bytes, int] = (b"", 0)
        self._lock = threading.Lock()  # guards everything above; nothing is pickled under it
        self._in_hand: dict[int, int] = {}  # thread -> the number it has asked for last: a task may be about to name it
        self._next = 1

    def number_of(self, function: Callable[..., Any]) -> int:
        """The number of a callable.

        Raises:
            SerializationError: it can't be pickled.
        """
        kind = type(function)
        if kind is FunctionType:
            known = self._by_value.get(id(function))
            if known is not None and known[0] is function and _unchanged(function, known[1].parts):
                number = known[1].number
                with self._lock:
                    if number in self.data:
                        self._in_hand[get_ident()] = number
                        return number
        name = name_of(function)
        if kind in (FunctionType, BuiltinFunctionType, type) and _is_what_its_name_says(function):
            try:
                data = dumps(function, 5)
            except Exception:  # not importable by its name: by value then
                pass
            else:
                number = self.register(serialize.REUSE + data)
                self.fixed[function] = number
                return number
        return self._number_by_value(function, name)

    def _number_by_value(self, function: Any, name: str) -> int:
        parts = _parts(function) if type(function) is FunctionType else None
        steady = parts is not None and all(_is_steady(part) for part in parts)
        data = _dump(function, name)
        if len(data) > serialize.MAX_PAYLOAD:
            raise serialize.too_large(name, len(data))
        if len(data) >= serialize.LARGE:
            self.was_pickled(function, len(data))
        number = self.register((serialize.REUSE if steady else serialize.ANEW) + data)
        if steady and parts is not None:
            with self._lock:
                if len(self._by_value) >= _KEEP_COUNT:
                    self._by_value.clear()
                self._by_value[id(function)] = (function, _ByValue(number, parts))
        return number

    def register(self, data: bytes) -> int:
        """The number of a callable that is pickled already."""
        last, number = self._last
        if data == last:  # a memcmp: far cheaper than a digest, for an object that is sent again and again
            with self._lock:
                if number in self.data:
                    self._in_hand[get_ident()] = number
                    return number
        key = data if len(data) < 64 else _digest(data)
        with self._lock:
            known = self._numbers.get(key)
            if known is None:
                known = self._next
                self._next += 1
                self._numbers[key] = known
                self.data[known] = data
                self._define(known, data)
            self._last = (data, known)
            self._in_hand[get_ident()] = known
        return known

    def is_full(self) -> bool:
        """True if it is time to `prune`."""
        return len(self.data) > _KEEP_COUNT or (
            len(self.data) > 16 and sum(map(len, self.data.values())) > _KEEP_BYTES
        )

    def prune(self, used: set[int]) -> list[int]:
        """Forget by-value functions that no outstanding task names; their numbers are never given again."""
        with self._lock:
            alive = {thread.ident for thread in threading.enumerate()}
            self._in_hand = {ident: number for ident, number in self._in_hand.items() if ident in alive}
            keep = used | set(self.fixed.values()) | {self._last[1]} | set(self._in_hand.values())
            gone = [number for number in self.data if number not in keep]
            lost = set(gone)
            for number in gone:
                del self.data[number]
            self._numbers = {key: number for key, number in self._numbers.items() if number not in lost}
            self._by_value = {key: known for key, known in self._by_value.items() if known[1].number not in lost}
        return gone


def name_of(fn: object) -> str:
    """A callable's name, for messages."""
    try:
        name = getattr(fn, "__qualname__", None) or getattr(fn, "__name__", None)
    except Exception:  # a callable object of the user's, which answers every question in its own way
        name = None
    return name[:_LONGEST_NAME] if type(name) is str and name else type(fn).__name__


def _digest(data: bytes) -> bytes:
    from hashlib import blake2b  # 3 ms, for the libraries behind it: most functions are short or go by reference

    return blake2b(data, digest_size=24).digest()


def _dump(function: Any, name: str) -> bytes:
    """By pickle if that will do (bound methods, partials, callable objects of importable classes), else by value."""
    if not _goes_by_value(function):
        try:
            data = dumps(function, 5)
            if b"__main__" not in data:
                return data
        except BaseException as problem:  # by value may do; if not, the error of that says what is wrong
            serialize.pass_on(problem, lambda: dumps(function, 5))
    try:
        return serialize.dump_by_value(function, name)
    except RecursionError as error:
        raise SerializationError(name, "", "it is nested too deeply") from error


def _goes_by_value(function: Any) -> bool:
    try:
        module = getattr(function, "__module__", None)
    except Exception:  # a callable object of the user's that has no module to tell
        return False
    if module == "__main__" or module is None:
        return module == "__main__"
    if module == _RUN_PATH and _RUN_PATH in sys.modules:
        import cloudpickle  # which is needed now anyway

        cloudpickle.register_pickle_by_value(sys.modules[_RUN_PATH])  # what the function uses goes with it
        return True
    # None as well while another thread is just importing it: then nobody can have registered anything.
    listed = getattr(sys.modules.get("cloudpickle"), "list_registry_pickle_by_value", None)
    if listed is None:
        return False
    registered = listed()
    return bool(registered) and any(module == name or module.startswith(name + ".") for name in registered)


def _is_what_its_name_says(part: Any) -> bool:
    """True if its name leads to it, there and here: so it goes by reference. Not so a wrapper that bears the name
    of what it wraps, nor a method of a list."""
    if _goes_by_value(part):
        return False
    owner = getattr(part, "__self__", None)
    found: Any = owner if isinstance(owner, ModuleType) else sys.modules.get(part.__module__)
    for name in part.__qualname__.split("."):
        found = getattr(found, name, None)
    return found is part


def _parts(function: FunctionType) -> list[Any]:
    """Everything that decides what a function does: code, defaults, cells, globals it names."""
    parts: list[Any] = [function.__code__, *(function.__defaults__ or ())]
    if function.__kwdefaults__:
        parts.extend(function.__kwdefaults__.values())
    for cell in function.__closure__ or ():
        try:
            parts.append(cell.cell_contents)
        except ValueError:  # not bound yet
            parts.append(cell)
    names = function.__globals__
    parts.extend(names[name] for name in _names(function.__code__) if name in names)
    if function.__dict__:
        parts.append(function.__dict__)
    return parts


def _names(code: CodeType) -> list[str]:
    """Global names in a function and in the functions inside it."""
    names = list(code.co_names)
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            names.extend(_names(constant))
    return names


def _unchanged(function: FunctionType, parts: list[Any]) -> bool:
    now = _parts(function)
    return len(now) == len(parts) and all(map(_same, now, parts))


def _same(one: object, other: object) -> bool:
    return one is other


def _is_steady(part: object) -> bool:
    """True for what can't change while it remains the same object."""
    if isinstance(part, _IMMUTABLE):
        return type(part) in _IMMUTABLE  # a subclass may have attributes
    if isinstance(part, (FunctionType, BuiltinFunctionType, type)):
        return _is_what_its_name_says(part)
    if isinstance(part, ModuleType):
        return sys.modules.get(part.__name__) is part
    if type(part) in own_globals.KINDS:
        return True  # it does not travel
    return type(part) is tuple and all(map(_is_steady, part))
