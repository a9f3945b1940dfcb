"""Payloads of form T: what a try is told of its task, before the payload proper.

    T | u64 task | u32 number of the try | u64 size of the state | state | padding | payload

Tries that need not be told have none: the first one of a plain call, whose task has the number of the try. The state is
what an earlier try has saved, a payload of its own, which is opened when the task asks for it.
"""

from __future__ import annotations

from struct import Struct
from typing import Any

from parsl_pool.errors import BadMessage
from parsl_pool.interchange.named_tuple import NamedTuple

FORM = 0x54  # T
_HEAD = Struct("<cQIQ")
_ALIGN = 64  # the payload begins on a cache line if there is a state, for the sake of arrays in it


class Resumed(NamedTuple):
    """What a try is told."""

    task: int
    number: int  # 0 for the first one
    state: Any  # a memoryview; empty: nothing has been saved


def head(task: int, number: int, state: bytes | memoryview = b"") -> list[Any]:
    """What comes before the payload, in parts."""
    size = len(state)
    first = _HEAD.pack(b"T", task, number, size)
    return [first, state, bytes(-(_HEAD.size + size) % _ALIGN)] if size else [first]


def split(payload: bytes | memoryview) -> tuple[Resumed, memoryview]:
    """What the try is told, and the payload proper. Raises BadMessage."""
    view = memoryview(payload)
    if len(view) <= _HEAD.size:
        raise BadMessage(f"a payload of form T of {len(view)} bytes")
    form, task, number, size = _HEAD.unpack_from(view)
    end = _HEAD.size + size
    begin = end + (-end % _ALIGN if size else 0)
    if form != b"T" or begin >= len(view):
        raise BadMessage(f"a payload of form T with a state of {size} bytes, and {len(view)} in all")
    return Resumed(task, number, view[_HEAD.size : end]), view[begin:]
