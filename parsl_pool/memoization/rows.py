"""A result as a row of a checkpoint's table, and where that table is. Light: all that checkpoints may import this."""

from __future__ import annotations

import os
import struct
from collections.abc import Sequence
from typing import Any, NamedTuple

from parsl_pool.memoization.keys import CallKey

FOLDER, FILE_NAME = "checkpoint", "results.sqlite"
"""In a run's directory, and in that directory."""

_LENGTH = struct.Struct(">H")
_LONGEST_NAME = 200  # bytes
_DIGEST = 16  # bytes


class Result(NamedTuple):
    """A call, and what came of it."""

    key: CallKey
    payload: bytes
    written: float  # time.time() seconds
    run: str  # the run that wrote it

    @classmethod
    def of_row(cls, row: Any, payload: bytes) -> Result:
        """A row of the table, with this payload."""
        key = CallKey(bytes(row.digest), row.function, unpacked(bytes(row.parts)))
        return cls(key, payload, row.written, row.run)


def packed(parts: Sequence[tuple[str, bytes]]) -> bytes:
    """A key's parts as one column."""
    names = [(name.encode("utf-8", "replace")[:_LONGEST_NAME], digest) for name, digest in parts]
    return b"".join([_LENGTH.pack(len(name)) + name + digest for name, digest in names])


def unpacked(data: bytes) -> tuple[tuple[str, bytes], ...]:
    """A key's parts from a column."""
    parts, at = [], 0
    while at + _LENGTH.size <= len(data):
        (length,) = _LENGTH.unpack_from(data, at)
        at += _LENGTH.size
        name, digest = data[at : at + length], data[at + length : at + length + _DIGEST]
        parts.append((name.decode("utf-8", "replace"), digest))
        at += length + _DIGEST
    return tuple(parts)


def is_url(place: str) -> bool:
    """It is a database's, and no path."""
    return "://" in place


def place_of(path: str | os.PathLike[str]) -> str:
    """Where the results are that somebody names by a run's directory, its checkpoint directory, or the file."""
    place = os.fspath(path)
    if is_url(place) or not os.path.isdir(place):
        return place
    for folder in (place, os.path.join(place, FOLDER)):
        if os.path.exists(os.path.join(folder, FILE_NAME)):
            return os.path.join(folder, FILE_NAME)
    return os.path.join(place, FILE_NAME)


def place_to_write(path: str | os.PathLike[str]) -> str:
    """The file in a checkpoint directory, which need not be there yet; a file's name has an ending."""
    place = os.fspath(path)
    is_folder = not is_url(place) and (os.path.isdir(place) or not os.path.splitext(place)[1])
    return os.path.join(place, FILE_NAME) if is_folder else place
