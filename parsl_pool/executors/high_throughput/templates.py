"""The usual arguments of a task that waits: numbers, short texts, and futures, each an argument itself.

Their pickle is put together from the pickles of the parts. No pickler has to be asked about each object, and when the
results are such simple values too, they take their places as the bytes that came: the worker then gets a pickle as of
any other task.

That is sound for values whose pickles refer to nothing outside of themselves, and to no place in the pickler's memory:
exactly those of `_SIZES`. A pickle that looks otherwise in any way goes the general way.
"""

from __future__ import annotations

from concurrent.futures import Future
from pickle import dumps
from typing import Any

from parsl_pool.futures import AppFuture, LiftingFuture

_FUTURES = frozenset({AppFuture, LiftingFuture})
_SIMPLE = frozenset({int, float, bool, type(None), str})
_MOST = 64  # arguments
_LONGEST = 200  # bytes of one's pickle

_PROTO, _FRAME, _STOP = 0x80, 0x95, 0x2E
_HEAD, _MARK = b"\x80\x05", b"("
_TUPLES = {1: b"\x85.", 2: b"\x86.", 3: b"\x87."}
_LONGER_TUPLE = b"t."
_TOKENS = [b"K%c)\x86Q" % number for number in range(_MOST)]  # the pair (number, ()), as a persistent id

# Opcode -> bytes that follow it: BININT1, BININT2, BININT, BINFLOAT, NONE, NEWTRUE, NEWFALSE.
_SIZES = {0x4B: 1, 0x4D: 2, 0x4A: 4, 0x47: 8, 0x4E: 0, 0x88: 0, 0x89: 0}
_LONG1, _SHORT_TEXT, _MEMOIZE = 0x8A, 0x8C, 0x94  # their first byte says how many follow; a text is then noted


class Template:
    """A tuple of arguments whose places for results are still empty."""

    __slots__ = ("_parts",)

    def __init__(self, parts: list[bytes | int]) -> None:
        # Each a piece of a pickle, or the number of a result. In a tuple they are nothing that the garbage collector
        # looks at; and there may be very many that wait.
        self._parts = tuple(parts)

    def filled(self, results: list[Any]) -> bytes | None:
        """The pickle of all arguments; None if one of the results is not that simple."""
        pieces = []
        for part in self._parts:
            piece = core(results[part]) if type(part) is int else part
            if piece is None:
                return None
            pieces.append(piece)
        return _tuple_of(pieces)  # type: ignore[arg-type]  # no numbers are left

    def with_tokens(self) -> bytes:
        """The pickle in which tokens stand for the results."""
        return _tuple_of([_TOKENS[part] if isinstance(part, int) else part for part in self._parts])


def template_of(args: tuple[Any, ...]) -> tuple[Template, list[Future[Any]]] | None:
    """A template, and the futures whose results belong into it; None if there are none, or if it takes a pickler."""
    if len(args) > _MOST:
        return None
    parts: list[bytes | int] = []
    futures: list[Future[Any]] = []
    for argument in args:
        kind = type(argument)
        if kind in _FUTURES:
            if argument not in futures:
                futures.append(argument)
            parts.append(futures.index(argument))
        elif kind in _SIMPLE and (piece := core(dumps(argument, 5))) is not None:
            parts.append(piece)
        else:
            return None
    return (Template(parts), futures) if futures else None


def core(pickle: object) -> bytes | None:
    """The pickle of a simple value without its head and its end; None if it is none."""
    if type(pickle) is not bytes or not 4 <= len(pickle) <= _LONGEST or pickle[0] != _PROTO or pickle[-1] != _STOP:
        return None
    start = 11 if pickle[2] == _FRAME else 2
    left = len(pickle) - start - 2  # between the first opcode and the end
    if left < 0:
        return None
    opcode = pickle[start]
    size = _SIZES.get(opcode)
    if size is None:
        if left == 0:
            return None
        if opcode == _SHORT_TEXT and pickle[-2] == _MEMOIZE:
            size = pickle[start + 1] + 2
        elif opcode == _LONG1:
            size = pickle[start + 1] + 1
    return pickle[start:-1] if left == size else None


def _tuple_of(pieces: list[bytes]) -> bytes:
    end = _TUPLES.get(len(pieces))
    if end is not None:
        return b"".join([_HEAD, *pieces, end])
    return b"".join([_HEAD, _MARK, *pieces, _LONGER_TUPLE])
