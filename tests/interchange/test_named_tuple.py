"""Ours against the real one: whatever is used of it behaves the same."""

import pickle
import typing
from typing import Any

import pytest

from parsl_pool.interchange import named_tuple


class Ours(named_tuple.NamedTuple):
    one: int
    two: list[str]


class Real(typing.NamedTuple):
    one: int
    two: list[str]


BOTH = [Ours, Real]


def test_this_is_not_the_real_one_at_run_time() -> None:
    assert Ours.__mro__[1] is not tuple


@pytest.mark.parametrize("kind", BOTH)
def test_fields_are_read_by_name_by_place_and_by_pattern(kind: Any) -> None:
    record = kind(1, ["a"])
    assert (record.one, record.two) == tuple(record) == (1, ["a"]) == record
    assert kind(1, two=["a"]) == kind(two=["a"], one=1) == record and kind._fields == ("one", "two")
    match record:
        case Ours(one, two) | Real(one, two=two):
            assert (one, two) == (1, ["a"])
        case _:
            pytest.fail("no match")


@pytest.mark.parametrize("kind", BOTH)
@pytest.mark.parametrize(
    "values, named",
    [((), {}), ((1,), {}), ((1, [], 2), {}), ((1,), {"one": 1}), ((1, []), {"two": []}), ((1, []), {"x": 1})],
)
def test_too_few_too_many_or_wrong_fields_are_a_type_error(kind: Any, values: Any, named: Any) -> None:
    with pytest.raises(TypeError):
        kind(*values, **named)


@pytest.mark.parametrize("kind", BOTH)
def test_a_field_cannot_be_assigned(kind: Any) -> None:
    with pytest.raises(AttributeError):
        kind(1, []).one = 2


@pytest.mark.parametrize("kind", BOTH)
def test_it_survives_pickling_and_says_what_it_is(kind: Any) -> None:
    record = kind(1, ["a"])
    copy = pickle.loads(pickle.dumps(record))
    assert copy == record and type(copy) is kind
    assert repr(record) == f"{kind.__name__}(one=1, two=['a'])"
