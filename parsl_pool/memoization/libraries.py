"""The kinds of values whose libraries may not be loaded: dates, paths, numpy arrays, pandas frames, our own File.

A type is known by its name and its module's. If there is a value of it, its library is loaded already, so nothing is
imported here.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Any

from parsl_pool.errors import UnknownMemoType
from parsl_pool.memoization.encoder import Encoder, Kind, class_name, framed, listed, text


def find(value: Any) -> Kind | None:
    """The kind of a value of a library's type."""
    cls = type(value)
    kind = _BY_NAME.get((cls.__module__, cls.__qualname__))
    if kind is not None:
        return kind
    for base in cls.__mro__:
        kind = _BY_BASE.get((base.__module__.partition(".")[0], base.__name__))
        if kind is not None and _comes_with(cls, base):
            return kind
    return None


def _comes_with(cls: type, base: type) -> bool:
    """The class is of the library itself: users' subclasses may hold more than their base does."""
    return cls.__module__.partition(".")[0] == base.__module__.partition(".")[0]


def _as(plain: Callable[[Any], Sequence[Any]]) -> Kind:
    """A value that is said in full by others."""

    def kind(encoder: Encoder, value: Any) -> bytes:
        parts = encoder.items(value, plain(value), lambda index: f".<part {index}>")
        return b"O" + class_name(type(value)) + listed(b"", parts)

    return kind


# ---- the standard library


def _moment(encoder: Encoder, value: Any) -> bytes:
    """A datetime or a time: what its clock shows, and its time zone, by name if it has one."""
    zone = value.tzinfo
    key, offset = getattr(zone, "key", None), value.utcoffset()
    shift = None if offset is None else (offset.days, offset.seconds, offset.microseconds)
    plain = (value.replace(tzinfo=None).isoformat(), value.fold, zone is not None, key, None if key else shift)
    return b"O" + class_name(type(value)) + encoder.encode(plain)


def _zone(encoder: Encoder, value: Any) -> bytes:
    if value.key is None:
        raise UnknownMemoType("zoneinfo.ZoneInfo", reason="read from a file, without a name")
    return b"O" + class_name(type(value)) + text(value.key)


def _path(encoder: Encoder, value: Any) -> bytes:
    """A path is what it says, not what is there: that is what `File` is for."""
    return b"O" + text(type(value).__name__) + text(str(value))


_BY_NAME: dict[tuple[str, str], Kind] = {
    ("datetime", "datetime"): _moment,
    ("datetime", "time"): _moment,
    ("datetime", "date"): _as(lambda value: (value.year, value.month, value.day)),
    ("datetime", "timedelta"): _as(lambda value: (value.days, value.seconds, value.microseconds)),
    ("datetime", "timezone"): _as(lambda value: (value.utcoffset(None), value.tzname(None))),
    ("zoneinfo", "ZoneInfo"): _zone,
    ("decimal", "Decimal"): _as(lambda value: (str(value),)),
    ("fractions", "Fraction"): _as(lambda value: (value.numerator, value.denominator)),
    ("uuid", "UUID"): _as(lambda value: (value.int,)),
    ("re", "Pattern"): _as(lambda value: (value.pattern, value.flags)),
    ("array", "array"): _as(lambda value: (value.typecode, value.tobytes())),
    ("types", "SimpleNamespace"): _as(lambda value: (vars(value),)),
    ("operator", "itemgetter"): _as(lambda value: value.__reduce__()[1]),
    ("operator", "attrgetter"): _as(lambda value: value.__reduce__()[1]),
    ("operator", "methodcaller"): _as(lambda value: _reduced_methodcaller(value)),
}


def _reduced_methodcaller(value: Any) -> Sequence[Any]:
    make, arguments = value.__reduce__()[:2]
    # With keywords it comes as a partial of its own class.
    return (*getattr(make, "args", ()), *arguments, getattr(make, "keywords", {}))


# ---- our own File


def _file(encoder: Encoder, value: Any) -> bytes:
    """A file by its URL and, when it is read and stands here, by what tells that it was written anew."""
    url = text(str(value.url))
    if encoder.output_ref:
        return b"O" + text("File") + url
    path = getattr(value, "path", None) if getattr(value, "scheme", "file") == "file" else None
    try:
        facts = os.stat(path) if path is not None else None
    except OSError:
        facts = None
    return b"O" + text("File") + url + encoder.encode((facts.st_size, facts.st_mtime_ns) if facts else None)


def _ref(encoder: Encoder, value: Any) -> bytes:
    """An object that a pool was given, by its bytes."""
    return b"O" + text("Ref") + text(str(value.digest))


# ---- numpy


_RAW = frozenset("biufcmMSUV")
"""Kinds of numpy's dtypes whose arrays hold their values themselves, not references to them."""

_PADDED = frozenset("gG")
"""Long doubles: not all of their bytes are a part of the value."""


def _array(encoder: Encoder, value: Any) -> bytes:
    dtype = value.dtype
    head = b"O" + class_name(type(value)) + text(dtype.str) + encoder.encode(tuple(map(int, value.shape)))
    if dtype.names is not None:  # field by field: what lies between fields is not a part of the value
        names = dtype.names
        parts = encoder.items(value, (value[name] for name in names), lambda index: f"[{names[index]!r}]")
        return head + listed(b"", [*map(text, names), *parts])
    if dtype.char in _PADDED:
        return head + listed(b"", [text(repr(item)) for item in value.ravel()])
    if dtype.hasobject or dtype.kind not in _RAW:
        return head + listed(b"", encoder.items(value, value.ravel().tolist()))
    if value.flags.c_contiguous and value.size:
        return head + framed(b"", value.reshape(-1).view("u1").data.cast("B"))  # not copied
    return head + framed(b"", value.tobytes())


def _scalar(encoder: Encoder, value: Any) -> bytes:
    dtype = value.dtype
    head = b"O" + class_name(type(value)) + text(dtype.str)
    if dtype.names is not None or dtype.hasobject:
        return head + encoder.encode(value.item())
    if dtype.char in _PADDED:
        return head + text(repr(value))
    return head + framed(b"", value.tobytes())


# ---- pandas


def _values(encoder: Encoder, owner: Any, values: Any) -> bytes:
    """A column's values: a numpy array, or one of pandas' own kinds."""
    head = text(str(values.dtype))
    codes = getattr(values, "codes", None)
    if codes is not None and hasattr(values, "categories"):
        parts = [codes, values.categories, bool(values.ordered)]
        return head + listed(b"", encoder.items(owner, parts, lambda index: ""))
    return head + listed(b"", encoder.items(owner, [values.to_numpy()], lambda index: ""))


def _index(encoder: Encoder, value: Any) -> bytes:
    names = encoder.items(value, value.names, lambda index: f".names[{index}]")
    if hasattr(value, "levels"):
        items: Any = [value.get_level_values(level) for level in range(value.nlevels)]
        columns = [_values(encoder, value, item.array) for item in items]
    else:
        columns = [_values(encoder, value, value.array)]
    return b"O" + text("pandas.Index") + listed(b"", names) + listed(b"", columns)


def _series(encoder: Encoder, value: Any) -> bytes:
    head = encoder.items(value, [value.name, value.index], lambda index: (".name", ".index")[index])
    return b"O" + text("pandas.Series") + listed(b"", head) + _values(encoder, value, value.array)


def _frame(encoder: Encoder, value: Any) -> bytes:
    head = encoder.items(value, [value.columns, value.index], lambda index: (".columns", ".index")[index])
    columns = encoder.items(
        value, (value.iloc[:, index].array for index in range(value.shape[1])), lambda index: f".iloc[:, {index}]"
    )
    return b"O" + text("pandas.DataFrame") + listed(b"", head) + listed(b"", columns)


def _extension_array(encoder: Encoder, value: Any) -> bytes:
    return b"O" + text("pandas.array") + _values(encoder, value, value)


def _by_text(encoder: Encoder, value: Any) -> bytes:
    """A value whose representation is exact."""
    return b"O" + class_name(type(value)) + text(repr(value))


_BY_BASE: dict[tuple[str, str], Kind] = {
    ("pathlib", "PurePath"): _path,
    ("parsl_pool", "File"): _file,
    ("parsl_pool", "Ref"): _ref,
    ("numpy", "generic"): _scalar,
    ("numpy", "ndarray"): _array,
    ("numpy", "MaskedArray"): _as(lambda value: (value.data, value.mask, value.fill_value)),
    ("numpy", "dtype"): _by_text,
    ("pandas", "DataFrame"): _frame,
    ("pandas", "Series"): _series,
    ("pandas", "Index"): _index,
    ("pandas", "ExtensionArray"): _extension_array,
    ("pandas", "ExtensionDtype"): _by_text,
    ("pandas", "Timestamp"): _by_text,
    ("pandas", "Timedelta"): _by_text,
    ("pandas", "Period"): _by_text,
    ("pandas", "Interval"): _by_text,
    ("pandas", "NaTType"): _by_text,
    ("pandas", "NAType"): _by_text,
}
