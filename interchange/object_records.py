"""Messages about objects: what a client has put, and its tasks use on many nodes.

    worker --WantObject--> manager --WantObject--> interchange --WantObject--> client;  <--Object--

An `Object` brings a descriptor of the memory where links carry that. On others its bytes follow in `ObjectPart`s, each
answered by an `ObjectTaken`, a few at a time, so that nothing else waits behind them.
"""

from __future__ import annotations

from parsl_pool.interchange.named_tuple import NamedTuple


class WantObject(NamedTuple):
    """To where an object comes from: send it to me."""

    key: str
    in_parts: int  # 1: a descriptor has not helped


class Object(NamedTuple):
    """The answer: here it is, or come its parts; or there is none, for a reason."""

    key: str
    size: int
    reason: str  # "": there is one


class ObjectPart(NamedTuple):
    """Some bytes of an object, in order."""

    key: str
    position: int
    data: bytes


class ObjectTaken(NamedTuple):
    """The answer to a part: all bytes before this position are here.

    Also by who comes back, of each object that it has: what the client does not know any more is to be dropped.
    """

    key: str
    position: int


class DropObjects(NamedTuple):
    """Nobody will name these again."""

    keys: list[str]


ObjectRecord = WantObject | Object | ObjectPart | ObjectTaken | DropObjects
OBJECT_RECORDS = (WantObject, Object, ObjectPart, ObjectTaken, DropObjects)
