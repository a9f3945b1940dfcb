"""What a task that makes calls of its own, and the client that runs them for it, tell each other.

    nest.py, in the worker  --Call, Await, Withdraw, Ran-->  client, executors/high_throughput/nested.py
                            <--Ended, Yours, Withdrawn----

Each is the body of a message of topic NEST: a byte for its kind, and its fields. A call is known by a number that its
task has given it, from 1 on.
"""

from __future__ import annotations

from typing import Any

from parsl_pool.errors import BadMessage
from parsl_pool.interchange import fields
from parsl_pool.interchange.named_tuple import NamedTuple

NEST = "nest"
"""The topic."""


class Call(NamedTuple):
    """Run this."""

    number: int
    token: str  # of the pool that is meant
    name: str  # the function's, for people
    function: bytes  # as in a Function record
    arguments: bytes  # a payload; with `needed`, a pickle with tokens
    needed: list[int]  # calls whose results it takes, in the order of the tokens
    options: str  # repr() of a dict of what the task has said about it


class Await(NamedTuple):
    """I wait for these. Answered by Yours."""

    numbers: list[int]
    mine: list[int]  # those of my calls that I could run myself meanwhile
    received: list[int]  # you may forget their results
    again: int  # 1: answers may have got lost; say again which have ended


class Withdraw(NamedTuple):
    """Cancel this one. Answered by Withdrawn."""

    number: int


class Ran(NamedTuple):
    """I have run a call myself that you had said to be mine."""

    number: int
    status: int
    data: bytes


class Ended(NamedTuple):
    """A call is over. status and data: as of a result."""

    number: int
    status: int
    data: bytes


class Yours(NamedTuple):
    """This one will not begin elsewhere: run it. 0: all have begun."""

    number: int


class Withdrawn(NamedTuple):
    """Whether that call is cancelled."""

    number: int
    done: int


Record = Call | Await | Withdraw | Ran | Ended | Yours | Withdrawn

_RECORDS: tuple[type[Any], ...] = (Call, Await, Withdraw, Ran, Ended, Yours, Withdrawn)
_KIND = {cls: kind for kind, cls in enumerate(_RECORDS)}
_FORMAT = {cls: "".join([fields.CODES[kind] for kind in cls.__annotations__.values()]) for cls in _RECORDS}


def encode(record: Record) -> bytes:
    """The body of a message."""
    cls = type(record)
    return bytes((_KIND[cls],)) + fields.write(_FORMAT[cls], record)


def decode(body: bytes) -> Record:
    """What is in a body.

    Raises:
        BadMessage: nothing of ours.
    """
    if not body or body[0] >= len(_RECORDS):
        raise BadMessage("no message about a call")
    cls = _RECORDS[body[0]]
    record: Record = cls(*fields.read(_FORMAT[cls], body[1:]))
    return record
