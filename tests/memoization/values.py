"""Values of all kinds, no two of them the same; as a program, it prints the keys of those that no process changes."""

import dataclasses
import enum
import functools
from collections import namedtuple
from datetime import date, datetime, time, timedelta, timezone
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any
from uuid import UUID

from parsl_pool.memoization.keys import function_identity, id_for_memo, key_of_call


class Colour(enum.Enum):
    RED = 1
    BLUE = 2


class Size(enum.IntEnum):
    ONE = 1


class Mode(enum.Flag):
    READ = 1
    WRITE = 2


@dataclasses.dataclass
class Point:
    x: int
    y: object = None


@dataclasses.dataclass
class Other:
    x: int
    y: object = None


class Below(Point):
    """A subclass that is no dataclass itself."""


Pair = namedtuple("Pair", "x y")


def f(x: object, y: object = 2, *rest: object, z: object = 3, **more: object) -> object:
    return x


DIFFERENT: list[Any] = [
    None, ..., NotImplemented, True, False, 0, 1, -1, 10**5000, 1.0, 0.0, -0.0, float("inf"), float("nan"), 1j, 1 + 0j,
    "", "1", "a", "b", "\udcff", b"", b"1", b"a", bytearray(b"a"), "x" * 5000, "x" * 5001, b"x" * 5000,
    [], [1], [[1]], [1, [2]], [1, 2], [[], []], [[[]]], (), (1,), (1, 2), ((1,), 2), {}, {1: 2}, {"1": 2}, {1: {}},
    set(), {1}, {1, 2}, frozenset(), frozenset({1}), {1: None}, range(3), range(0, 3, 2), slice(3),
    Colour.RED, Colour.BLUE, Size.ONE, Mode.READ, Mode.READ | Mode.WRITE,
    Point(1), Point(1, 2), Other(1), Pair(1, None), Pair(1, 2),
    datetime(2026, 1, 1), datetime(2026, 1, 1, fold=1), datetime(2026, 1, 1, tzinfo=timezone.utc), date(2026, 1, 1),
    datetime(2026, 1, 1, tzinfo=timezone(timedelta(hours=1))), time(), time(1), time(tzinfo=timezone.utc),
    timedelta(1), timedelta(0, 1), timezone.utc, Decimal(1), Decimal("1.00"), Fraction(1), UUID(int=1),
    Path("a"), Path("a/b"), len, abs, str.upper, str.lower, [].append, [1].append, "a".join, int, str, Point, Other,
    Colour, functools.partial(pow, 2), functools.partial(pow, 3), functools.partial(pow, exp=2), Point(1).__eq__,
    functools, dataclasses, f, lambda: 1, lambda: 2, lambda x: 1, lambda x=1: 1,
]  # fmt: skip

if __name__ == "__main__":
    for value in [*DIFFERENT, {"b", "a", "c"}, {"x": 1, "y": {2}}, frozenset("spam")]:
        print(id_for_memo(value).hex())
    print(key_of_call(f, (1,), {"y": {"a", "b"}}).digest.hex())
    print(function_identity(lambda x: x in {"a", "b", "c", "d"}).hex())
