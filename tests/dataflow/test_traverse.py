from collections import Counter, OrderedDict, defaultdict, namedtuple
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any

import pytest

from parsl_pool.dataflow.traverse import futures_in, with_results


def done(value: Any = 42) -> Future[Any]:
    future: Future[Any] = Future()
    future.set_result(value)
    return future


def result(future: Future[Any]) -> Any:
    return future.result(0)


Pair = namedtuple("Pair", "left right")


@dataclass
class Data:
    value: Any


class MyList(list[Any]):
    pass


@pytest.mark.parametrize(
    "value",
    [1, "text", None, [1, 2], (1,), {1}, frozenset([1]), {"a": 1}, Pair(1, 2), defaultdict(int, a=1), Counter("a")],
    ids=repr,
)
def test_what_has_no_futures_stays_what_it_is(value: Any) -> None:
    assert futures_in(value) == [] and with_results(value, result) is value


@pytest.mark.parametrize(
    "put, expected",
    [
        (lambda future: future, 42),
        (lambda future: [0, future], [0, 42]),
        (lambda future: (future, [future]), (42, [42])),
        (lambda future: {future, 1}, {42, 1}),
        (lambda future: frozenset([future]), frozenset([42])),
        (lambda future: {"a": future, "b": 1}, {"a": 42, "b": 1}),
        (lambda future: {future: future}, {42: 42}),
        (lambda future: Pair(1, future), Pair(1, 42)),
        (lambda future: OrderedDict(a=future), OrderedDict(a=42)),
        (lambda future: defaultdict(int, a=future), defaultdict(int, a=42)),
        (lambda future: MyList([future]), MyList([42])),
        (lambda future: Data([future]), Data([42])),
        (lambda future: [[[{"a": (future,)}]]], [[[{"a": (42,)}]]]),
    ],
    ids=["itself", "list", "tuple", "set", "frozenset", "dict", "key", "named tuple", "ordered dict", "default dict",
         "subclass", "dataclass", "deep"],
)  # fmt: skip
def test_results_take_the_places_of_futures(put: Any, expected: Any) -> None:
    future = done()
    value = put(future)
    assert futures_in(value) == [future]
    got = with_results(value, result)
    assert got == expected and type(got) is type(expected)
    if isinstance(got, defaultdict):
        assert got.default_factory is int


@dataclass(frozen=True)
class Frozen:
    name: str
    value: Any


def test_a_frozen_dataclass_is_no_obstacle() -> None:
    assert with_results(Frozen("x", (done(),)), result) == Frozen("x", (42,))


def test_what_has_no_futures_beside_what_has_is_left_as_it_is() -> None:
    untouched = [1, [2]]
    assert with_results([done(), untouched], result)[1] is untouched


def test_the_callers_containers_are_left_as_they_are() -> None:
    future = done()
    value = [future, {"a": future}]
    with_results(value, result)
    assert value == [future, {"a": future}]


def test_each_future_is_found_once_and_in_order() -> None:
    one, other = done(1), done(2)
    assert futures_in([other, (one, other), {"a": one}]) == [other, one]


def test_a_container_that_contains_itself_is_walked_once() -> None:
    value: list[Any] = [1]
    value.append(value)
    assert futures_in(value) == [] and with_results(value, result) is value


def test_a_container_that_contains_itself_and_a_future_can_be_given() -> None:
    value: list[Any] = [done()]
    value.append(value)
    assert len(futures_in(value)) == 1
    got = with_results(value, result)
    assert got[0] == 42 and got[1] is got


def test_deep_values_cost_no_more_than_their_depth() -> None:
    calls = 0

    class Counting(list[Any]):
        def __iter__(self) -> Any:
            nonlocal calls
            calls += 1
            return super().__iter__()

    value: Any = done()
    for _ in range(100):
        value = Counting([value])
    got = with_results(value, result)
    for _ in range(100):
        (got,) = got
    assert got == 42 and calls < 1000
