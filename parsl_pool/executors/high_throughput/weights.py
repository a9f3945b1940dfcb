"""What is heavy and travels again and again: found, and told once for each function.

Only calls whose pickle is large come here. Nothing of the user's is kept for it: that an object is the same as before
is seen by a checksum, which is made for two calls, at the point from which on it would be worth telling.
"""

from __future__ import annotations

import sys
import threading
import warnings
import zlib
from collections.abc import Callable, Iterator
from functools import partial
from pickle import PickleBuffer
from types import FunctionType, MethodType
from typing import Any

_KEEP_COUNT = 1000

Part = tuple[str, str, Any]
"""What can be heavy: words that lead to it, its name, and itself."""


class _Known:
    """What is known of one function: of its calls, or of its own pickle."""

    __slots__ = ("count", "due", "seen", "size", "told")

    def __init__(self) -> None:
        self.count = self.size = 0  # how often it was pickled, and how much that was in all
        self.due = (0, 0)  # not looked at before there are so many, and so much
        self.seen: dict[tuple[str, str], tuple[int, int]] = {}  # part -> its size and checksum, in the call before
        self.told: tuple[str, str, int] | None = None  # what was found: words, name, size


class Weights:
    """Of one executor's calls. Any thread that submits may use it.

    Attributes:
        least: calls with fewer bytes are not looked at.
        often, much: nothing is told before there were so many of a function, and so many bytes in all.
    """

    least = 1 << 20
    often = 5
    much = 1 << 30

    def __init__(self) -> None:
        self._lock = threading.Lock()  # guards what follows, and what is in it; nothing is pickled under it
        self._known: dict[tuple[Any, bool], _Known] = {}

    def called(self, fn: Any, args: tuple[Any, ...], kwargs: dict[str, Any], size: int) -> None:
        """A call's arguments have been pickled."""
        if size >= self.least:
            self._note(fn, False, size, partial(_parts_of_call, fn, args, kwargs))

    def pickled(self, fn: Any, size: int) -> None:
        """A function has been pickled, with all that it refers to."""
        if size >= self.least:
            self._note(fn, True, size, partial(parts_of_function, fn))

    def _note(self, fn: Any, of_function: bool, size: int, parts: Callable[[], Iterator[Part]]) -> None:
        inner = innermost(fn)
        key = getattr(inner, "__code__", None) or _name_of(inner), of_function
        with self._lock:
            if len(self._known) >= _KEEP_COUNT:
                return
            known = self._known.setdefault(key, _Known())
            known.count += 1
            known.size += size
            often, much = max(self.often, known.due[0]), max(self.much, known.due[1])
            if known.told is not None or known.count < often - 1 or known.size + size < much:
                return
        now = {(words, name): weight for words, name, part in parts() if (weight := weigh(part))[0] >= self.least}
        with self._lock:
            if known.told is not None:
                return  # another thread's call was faster
            before, known.seen = known.seen, now
            if not before:
                return
            same = [(weight[0], *part) for part, weight in now.items() if before.get(part) == weight]
            known.seen = {}
            if not same:
                known.due = (2 * known.count, 2 * known.size)
                return
            size, words, name = max(same)
            known.told = words, name, size
        warnings.warn(f"{_text(inner, of_function, known)}: use {_advice(name)}", RuntimeWarning, _user_s_level())

    def explain(self) -> list[str]:
        """What was found, for people."""
        with self._lock:
            told = [(key, known) for key, known in self._known.items() if known.told is not None]
            return [_text(key[0], key[1], known) for key, known in told]


def _text(of: Any, of_function: bool, known: _Known) -> str:
    words, name, size = known.told or ("", "", 0)
    how = "pickled" if of_function else "sent"
    thing = f"`{name}`" if name.isidentifier() else name or "an object"
    return f"`{_name_of(of)}` {words} {thing} ({shown_size(size)}), and was {how} {known.count:,} times"


def _advice(name: str) -> str:
    return f"pool.put({name})" if name.isidentifier() else "pool.put()"


def shown_size(size: int) -> str:
    """As people say it."""
    return f"{size / 1e9:,.1f} GB" if size >= 1e9 else f"{size / 1e6:,.0f} MB"


def _user_s_level() -> int:
    """How far up the call that led here is, in warnings.warn's way of counting."""
    level, frame = 1, sys._getframe(1)
    while frame.f_back is not None and frame.f_globals.get("__name__", "").startswith("parsl_pool"):
        level, frame = level + 1, frame.f_back
    return level


# ---- what is in a call


def innermost(fn: Any) -> Any:
    """The user's function inside of ours, and of methods and partials."""
    while isinstance(fn, (partial, MethodType)):
        if isinstance(fn, MethodType):
            fn = fn.__func__
        elif _is_ours(fn.func) and fn.args:
            fn = fn.args[0]
        else:
            fn = fn.func
    return fn


def _is_ours(fn: Any) -> bool:
    return str(getattr(fn, "__module__", None)).startswith("parsl_pool.")


def _name_of(fn: Any) -> str:
    name = getattr(fn, "co_name", None) or getattr(fn, "__name__", None)
    return fn if type(fn) is str else str(name or type(fn).__name__)


def _parts_of_call(fn: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Iterator[Part]:
    while isinstance(fn, partial) and _is_ours(fn.func) and fn.args:  # what is put around a function has arguments, too
        args = args[max(0, fn.func.__code__.co_posonlyargcount - len(fn.args)) :]
        fn = fn.args[0]
    code = fn.__code__ if type(fn) is FunctionType else None
    names = code.co_varnames[: code.co_argcount] if code is not None else ()
    for index, value in enumerate(args):
        yield "is called with", names[index] if index < len(names) else f"argument {index + 1}", value
    for name, value in kwargs.items():
        yield "is called with", name, value


def parts_of_function(fn: Any) -> Iterator[Part]:
    """All that travels with a function because it refers to it."""
    if isinstance(fn, partial):
        for value in fn.args:
            if isinstance(value, (FunctionType, partial, MethodType)):
                yield from parts_of_function(value)
            else:
                yield "is bound to", "", value
        for name, value in fn.keywords.items():
            yield "is bound to", name, value
        yield from parts_of_function(fn.func)
    elif isinstance(fn, MethodType):
        yield "is a method of", "", fn.__self__
    elif isinstance(fn, FunctionType):
        yield from _parts_of_plain(fn)
    else:
        for name, value in getattr(fn, "__dict__", {}).items():
            yield "has the attribute", str(name), value


def _parts_of_plain(fn: FunctionType) -> Iterator[Part]:
    code = fn.__code__
    for name, cell in zip(code.co_freevars, fn.__closure__ or ()):
        try:
            yield "closes over", name, cell.cell_contents
        except ValueError:  # not bound yet
            continue
    positional = code.co_varnames[: code.co_argcount]
    defaults = fn.__defaults__ or ()
    own = [*zip(positional[len(positional) - len(defaults) :], defaults), *(fn.__kwdefaults__ or {}).items()]
    for name, value in own:
        yield "has the default", name, value
    for name in _names(code):
        if name in fn.__globals__:
            yield "uses the global", name, fn.__globals__[name]
    for name, value in fn.__dict__.items():
        yield "has the attribute", str(name), value


def _names(code: Any) -> set[str]:
    names = set(code.co_names)
    for constant in code.co_consts:
        if isinstance(constant, type(code)):
            names |= _names(constant)
    return names


# ---- weighing


class _Scale:
    """Takes what a pickler writes, and keeps its size and a checksum."""

    def __init__(self) -> None:
        self.size = self.sum = 0

    def write(self, data: Any) -> int:
        view = memoryview(data).cast("B")
        self.size += view.nbytes
        self.sum = zlib.crc32(view, self.sum)
        return view.nbytes

    def take(self, buffer: PickleBuffer) -> bool:
        """A large buffer: it is not copied for this. True: it could not be looked at."""
        try:
            self.write(buffer.raw())
        except BufferError:  # not contiguous: pickle copies it
            return True
        return False


def weigh(value: Any) -> tuple[int, int]:
    """The size of its pickle, and a checksum; nothing if it can't be pickled."""
    from parsl_pool.interchange import by_value  # only for heavy calls

    scale = _Scale()
    try:
        by_value.Pickler(scale, 5, buffer_callback=scale.take).dump(value)
    except Exception:  # whatever user code raises while it is pickled: a future, say
        return 0, 0
    return scale.size, scale.sum
