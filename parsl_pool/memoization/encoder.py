"""Values to bytes: the same bytes if, and only if, two values are the same.

The bytes are never decoded. Each value is a letter for its kind, then contents whose end can be told, so no two
different values run into the same bytes, and the bytes of a container are its parts' bytes one after the other.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from hashlib import blake2b
from typing import Any, TypeAlias

from parsl_pool.errors import UnknownMemoType

DEPTH_LIMIT = 200
"""How deep containers may be nested: well below what Python's own stack holds."""

LONG = 1024
"""Bytes and texts above this length stand in a key as their digest."""

Kind: TypeAlias = "Callable[[Encoder, Any], bytes]"


class Encoder:
    """Encodes one value, or several that belong together. Not for several threads.

    Attributes:
        kinds: how values of exactly these types are encoded.
        find: how a value of any other type is; raises UnknownMemoType.
        output_ref: the value says where results go, not what is computed.
        open: what is being encoded at the moment, by id, with its depth.
    """

    __slots__ = ("find", "kinds", "open", "output_ref")

    def __init__(self, kinds: Mapping[type, Kind], find: Callable[[Any], Kind], output_ref: bool = False) -> None:
        self.kinds, self.find, self.output_ref = kinds, find, output_ref
        self.open: dict[int, int] = {}

    def encode(self, value: Any) -> bytes:
        """The value's bytes.

        Raises:
            UnknownMemoType: for the value or something in it; its path leads there.
        """
        kind = self.kinds.get(type(value))
        if kind is None:
            kind = self.find(value)
        return kind(self, value)

    def enter(self, value: Any) -> None:
        """Begin with the parts of a value; `leave` must follow."""
        if id(value) in self.open:
            raise UnknownMemoType(name_of_type(value), reason="which contains itself")
        if len(self.open) >= DEPTH_LIMIT:
            raise UnknownMemoType(name_of_type(value), reason=f"nested more than {DEPTH_LIMIT} levels deep")
        self.open[id(value)] = len(self.open)

    def leave(self, value: Any) -> None:
        """Done with the parts of a value."""
        del self.open[id(value)]

    def items(self, owner: Any, items: Iterable[Any], step: Callable[[int], str] = "[{}]".format) -> list[bytes]:
        """The bytes of the owner's items, in their order. `step` tells how one writes the n-th item of the owner."""
        self.enter(owner)
        encoded: list[bytes] = []
        encode, known = self.encode, self.kinds.get
        try:
            for item in items:
                kind = known(type(item))
                encoded.append(kind(self, item) if kind is not None else encode(item))
            return encoded
        except UnknownMemoType as error:
            raise error.inside(step(len(encoded))) from None
        finally:
            self.leave(owner)

    def attributes(self, owner: Any, names: Sequence[str]) -> list[bytes]:
        """The bytes of some of the owner's attributes."""
        return self.items(owner, (getattr(owner, name) for name in names), lambda index: f".{names[index]}")


def framed(letter: bytes, data: bytes | bytearray | memoryview) -> bytes:
    """Bytes of any length: themselves if short, else their digest."""
    if len(data) > LONG:
        return b"%b#%x:%b" % (letter, len(data), blake2b(data, digest_size=32).digest())
    return b"%b%x:%b" % (letter, len(data), bytes(data))


def text(value: str) -> bytes:
    """A text, as a part of something."""
    return framed(b"s", value.encode("utf-8", "surrogatepass"))


def listed(letter: bytes, parts: list[bytes]) -> bytes:
    """Parts in their order; how many there are comes first."""
    return b"%b%x(%b" % (letter, len(parts), b"".join(parts))


def name_of_type(value: Any) -> str:
    """`module.Class` of a value, as one would write it; `Class` for built-in ones."""
    cls = type(value)
    return cls.__qualname__ if cls.__module__ == "builtins" else f"{cls.__module__}.{cls.__qualname__}"


def class_name(cls: type) -> bytes:
    """A class, by the name that it has in every process that defines it."""
    return text(f"{module_name(cls)}.{cls.__qualname__}")


def module_name(thing: Any) -> str:
    """The module that something is defined in. The main script has one name, whoever runs it."""
    name = getattr(thing, "__module__", None) or ""
    return "__main__" if name == "__mp_main__" else str(name)
