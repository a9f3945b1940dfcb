"""Fields of a record as bytes, one after the other: integers, texts, bytes, and lists of the first two.

Nothing is executed by reading them, whatever the bytes are.
"""

from __future__ import annotations

from collections.abc import Iterable
from struct import Struct, error, pack, unpack_from
from typing import Any

from parsl_pool.errors import BadMessage

CODES = {"int": "i", "str": "s", "bytes": "b", "list[int]": "I", "list[str]": "S"}
"""The type of a field, as annotated -> its letter."""

_INT = Struct("<q")
_LENGTH = Struct("<I")


def write(codes: str, values: Iterable[Any]) -> bytes:
    """These values as bytes; codes: a letter for the type of each."""
    parts: list[bytes] = []
    for code, value in zip(codes, values):
        if code == "i":
            parts.append(_INT.pack(value))
        elif code == "s" or code == "b":
            data = value.encode("utf-8", "surrogatepass") if code == "s" else value
            parts += (_LENGTH.pack(len(data)), data)
        elif code == "I":
            parts.append(pack(f"<I{len(value)}q", len(value), *value))
        else:  # "S"
            parts.append(_LENGTH.pack(len(value)))
            for item in value:
                data = item.encode("utf-8", "surrogatepass")
                parts += (_LENGTH.pack(len(data)), data)
    return b"".join(parts)


class _Reader:
    """Takes fields from a body, checking every bound."""

    __slots__ = ("body", "position")

    def __init__(self, body: bytes) -> None:
        self.body, self.position = body, 0

    def integer(self) -> int:
        value: int = _INT.unpack_from(self.body, self.position)[0]
        self.position += 8
        return value

    def data(self) -> bytes:
        (size,) = _LENGTH.unpack_from(self.body, self.position)
        start = self.position + 4
        self.position = start + size
        if self.position > len(self.body):
            raise BadMessage(f"a field of {size} bytes in a body of {len(self.body)}")
        return self.body[start : self.position]

    def text(self) -> str:
        return self.data().decode("utf-8", "surrogatepass")

    def integers(self) -> list[int]:
        (count,) = _LENGTH.unpack_from(self.body, self.position)
        if self.position + 4 + 8 * count > len(self.body):
            raise BadMessage(f"{count} integers in a body of {len(self.body)} bytes")
        values = list(unpack_from(f"<{count}q", self.body, self.position + 4))
        self.position += 4 + 8 * count
        return values

    def texts(self) -> list[str]:
        (count,) = _LENGTH.unpack_from(self.body, self.position)
        if 4 * count > len(self.body):
            raise BadMessage(f"{count} texts in a body of {len(self.body)} bytes")
        self.position += 4
        return [self.text() for _ in range(count)]


_TAKE = {"i": _Reader.integer, "s": _Reader.text, "b": _Reader.data, "I": _Reader.integers, "S": _Reader.texts}


def read(codes: str, body: bytes) -> list[Any]:
    """The values that were written.

    Raises:
        BadMessage: the bytes are not of that form.
    """
    reader = _Reader(body)
    try:
        values = [_TAKE[code](reader) for code in codes]
    except (error, UnicodeDecodeError) as problem:
        raise BadMessage(str(problem)) from None
    if reader.position != len(body):
        raise BadMessage(f"{len(body) - reader.position} bytes too many")
    return values
