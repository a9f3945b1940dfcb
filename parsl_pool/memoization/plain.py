"""The kinds of plain data: numbers, texts, containers, and what users make of them (enums, dataclasses)."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import fields
from enum import Enum, Flag
from typing import Any

from parsl_pool.errors import UnknownMemoType
from parsl_pool.memoization.encoder import Encoder, Kind, class_name, framed, listed, name_of_type, text

_DOUBLE = struct.Struct(">d").pack

ATOMS = (bool, int, float, complex, str, bytes, type(None), type(Ellipsis), type(NotImplemented))
"""Immutable, without parts."""


def _float(value: float) -> bytes:
    return b"n" * 8 if value != value else _DOUBLE(value)  # all NaN are the same: their bits mean nothing


def _dict(encoder: Encoder, value: Mapping[Any, Any]) -> bytes:
    keys = encoder.items(value, value)
    values = encoder.items(value, value.values(), lambda index: f"[{list(value)[index]!r:.80}]")
    return listed(b"d", [part for pair in sorted(zip(keys, values)) for part in pair])


def _set(letter: bytes) -> Kind:
    return lambda encoder, value: listed(letter, sorted(encoder.items(value, value)))


def _sequence(letter: bytes) -> Kind:
    return lambda encoder, value: listed(letter, encoder.items(value, value))


def _triple(letter: bytes) -> Kind:
    """A range or a slice."""
    return lambda encoder, value: letter + b"".join(encoder.attributes(value, ("start", "stop", "step")))


KINDS: dict[type, Kind] = {
    type(None): lambda _, value: b"N",
    type(Ellipsis): lambda _, value: b"E",
    type(NotImplemented): lambda _, value: b"I",
    bool: lambda _, value: b"T" if value else b"F",
    int: lambda _, value: b"i%x;" % value,  # hexadecimal: linear, and Python limits the length of decimal ones
    float: lambda _, value: b"f" + _float(value),
    complex: lambda _, value: b"c" + _float(value.real) + _float(value.imag),
    str: lambda _, value: framed(b"s", value.encode("utf-8", "surrogatepass")),
    bytes: lambda _, value: framed(b"b", value),
    bytearray: lambda _, value: framed(b"B", value),
    list: _sequence(b"l"),
    tuple: _sequence(b"t"),
    dict: _dict,
    set: _set(b"S"),
    frozenset: _set(b"Z"),
    range: _triple(b"r"),
    slice: _triple(b"k"),
}

ATOM_KINDS: dict[type, Kind] = {cls: KINDS[cls] for cls in ATOMS}
"""These ask nothing of their encoder."""


def find(value: Any) -> Kind | None:
    """The kind of a value whose type says that it is data: an Enum's member, a dataclass, a named tuple."""
    cls = type(value)
    if isinstance(value, Enum):
        return _enum
    if "__dataclass_fields__" in vars(cls) and not set(KINDS).intersection(cls.__mro__):
        return _dataclass
    if isinstance(value, tuple) and isinstance(getattr(cls, "_fields", None), tuple) and not hasattr(value, "__dict__"):
        return _named_tuple
    return None


def refusal(value: Any) -> UnknownMemoType:
    """What is said about a value of no known kind."""
    cls = type(value)
    reason = ""
    for base in cls.__mro__[1:]:
        if base in KINDS:
            reason = f"a subclass of {base.__name__}, which may hold more than a {base.__name__} does"
            break
        if "__dataclass_fields__" in vars(base):
            reason = f"a subclass of the dataclass {base.__qualname__} that is none itself (no @dataclass)"
            break
    return UnknownMemoType(name_of_type(value), reason=reason)


def _enum(encoder: Encoder, value: Enum) -> bytes:
    # A Flag's members are sums, and how those are called differs between Pythons. Of others the name counts, and
    # the value if it is simple: it may be anything at all.
    name = "" if isinstance(value, Flag) else value.name
    number = value.value if isinstance(value.value, ATOMS) and type(value.value) in ATOMS else None
    return b"e" + class_name(type(value)) + text(name) + encoder.encode(number)


def _dataclass(encoder: Encoder, value: Any) -> bytes:
    names = [field.name for field in fields(value) if hasattr(value, field.name)]
    parts = encoder.attributes(value, names)
    named = [part for name, encoded in zip(names, parts) for part in (text(name), encoded)]
    return b"D" + class_name(type(value)) + listed(b"", named)


def _named_tuple(encoder: Encoder, value: Any) -> bytes:
    parts = encoder.attributes(value, value._fields)
    return b"P" + class_name(type(value)) + listed(b"", [*map(text, value._fields), *parts])
