"""Shared memory by name, for links that carry no descriptors: between processes of one user on one host.

    sender --number of its process, numbers of its descriptors--> receiver --open--> /proc/PID/fd/FD

The sender keeps the descriptors until the receiver is known to have opened them. Only memory of a pool is opened:
what a name leads to is looked at first.

A message of such a link is  u8 kind | u8 n | n * (u32 process, u32 descriptor) | body.
"""

from __future__ import annotations

import os
from struct import Struct

from parsl_pool.errors import BadMessage
from parsl_pool.interchange import columns, wire
from parsl_pool.interchange.object_records import Object

Name = tuple[int, int]

_NAME = Struct("<II")
_MOST = 2  # the arguments, and memory for the result
_LENDING = (wire.TASKS, wire.ASKING, wire.RESULTS, wire.KIND[wire.FromTask], wire.KIND[Object])


def message(kind: int, body: bytes, descriptors: list[int]) -> bytes:
    """A message that lends these descriptors of this process."""
    names = b"".join([_NAME.pack(os.getpid(), fd) for fd in descriptors])
    return bytes((kind, len(descriptors))) + names + body


def split(data: bytes) -> tuple[int, bytes, list[Name]]:
    """Kind, body, and the names of what is lent.

    Raises:
        BadMessage: it lends too much, or with a message that has nothing to do with memory.
    """
    kind, count = data[0], data[1]
    if not count:
        return kind, data[2:], []
    end = 2 + count * _NAME.size
    if count > _MOST or len(data) < end or kind not in _LENDING:
        raise BadMessage(f"a message of kind {kind} with {count} names of memory")
    return kind, data[end:], [(pid, fd) for pid, fd in _NAME.iter_unpack(data[2:end])]


def open_named(names: list[Name]) -> list[int]:
    """Descriptors of our own for what is lent.

    Raises:
        OSError: it is there no more, or is no memory of a pool, or we have too many open files.
    """
    descriptors: list[int] = []
    try:
        for pid, fd in names:
            path = f"/proc/{pid}/fd/{fd}"
            target = os.readlink(path)
            if not os.path.basename(target).startswith(("parsl-pool-", "memfd:parsl-pool-")):
                raise OSError(f"{path} is {target}, no memory of a pool")
            descriptors.append(os.open(path, os.O_RDWR | os.O_CLOEXEC))
    except OSError:
        close(descriptors)
        raise
    return descriptors


def close(descriptors: list[int]) -> None:
    """Close them all."""
    for fd in descriptors:
        os.close(fd)


def lost(task: int, host: str, reason: str) -> columns.Results:
    """The result of a task whose memory could not be opened: its place is to blame, so it may run again."""
    facts = {"cause": "place", "host": host, "reason": reason}
    return columns.result_of(task, wire.LOST, wire.encode(wire.Facts(list(facts), list(facts.values()))))
