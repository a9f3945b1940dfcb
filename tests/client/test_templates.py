"""Pickles put together by hand are what a pickler would have made of the same values."""

import io
import pickle
from concurrent.futures import Future
from pickle import dumps, loads
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from parsl_pool.executors.high_throughput.arguments import dump_arguments, filled
from parsl_pool.executors.high_throughput.templates import Template, core, template_of
from parsl_pool.futures import AppFuture, LiftingFuture
from parsl_pool.futures.data_future import DataFuture
from parsl_pool.interchange import serialize

few = settings(max_examples=200, deadline=None)

SIMPLE = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.sampled_from([0, 255, 256, 65535, 65536, -1, 2**31 - 1, 2**31, -(2**31), 2**63, 1 << 1600])
    | st.floats(allow_nan=False)
    | st.text(max_size=40)
)
OTHER = st.sampled_from(
    [(), [1, [2]], {"a": 1}, b"bytes", 1j, "x" * 300, 1 << 3000, Ellipsis, frozenset({1}), ["a", "a"]]
)


def future_of(kind: type[AppFuture[Any]] = AppFuture) -> AppFuture[Any]:
    return kind()


def same(one: Any, other: Any) -> bool:
    return type(one) is type(other) and repr(one) == repr(other)  # which tells 1 from True, and 0.0 from -0.0


@few
@given(SIMPLE)
def test_the_core_of_a_simple_value_is_its_pickle_wherever_it_stands(value: Any) -> None:
    piece = core(dumps(value, 5))
    if piece is not None:
        assert same(loads(b"\x80\x05(" + piece + piece + b"t."), (value, value))
    else:
        assert len(dumps(value, 5)) > 100


@few
@given(OTHER)
def test_others_have_none(value: Any) -> None:
    assert core(dumps(value, 5)) is None


@given(st.binary(max_size=30) | st.binary(max_size=20).map(lambda end: b"\x80\x05" + end + b"."))
@settings(max_examples=1000, deadline=None)
def test_no_bytes_are_taken_for_a_value_that_they_are_not(data: bytes) -> None:
    piece = core(data)
    if piece is not None:
        try:
            value = loads(data)
        except Exception:  # a text that is no UTF-8: the worker will say so, as it would have
            return
        assert type(value) in (int, float, bool, str, type(None))
        assert same(loads(b"\x80\x05(" + piece + piece + b"t."), (value, value))


@pytest.mark.parametrize("other", [memoryview(dumps(1, 5)), None, b"", b"P123", bytearray(dumps(1, 5))])
def test_only_bytes_have_a_core(other: Any) -> None:
    assert core(other) is None


class _ByToken(pickle.Unpickler):
    def __init__(self, data: bytes, values: list[Any]) -> None:
        super().__init__(io.BytesIO(data))
        self._values = values

    def persistent_load(self, pid: Any) -> Any:
        assert pid[1] == ()
        return self._values[pid[0]]


@few
@given(st.lists(st.tuples(st.just("value"), SIMPLE) | st.tuples(st.just("future"), st.integers(0, 3)), max_size=8),
       st.lists(SIMPLE, min_size=4, max_size=4))  # fmt: skip
def test_results_take_their_places(arguments: list[tuple[str, Any]], results: list[Any]) -> None:
    futures: list[Future[Any]] = [future_of(), future_of(LiftingFuture), future_of(), future_of()]
    args = tuple([futures[value] if kind == "future" else value for kind, value in arguments])
    expected = tuple([results[value] if kind == "future" else value for kind, value in arguments])
    found = template_of(args)
    if found is None:
        assert all(kind == "value" for kind, _ in arguments) or any(len(dumps(part, 5)) > 100 for part in expected)
        return
    template, needed = found
    values = [results[futures.index(future)] for future in needed]
    assert len(set(map(id, needed))) == len(needed)
    assert same(_ByToken(template.with_tokens(), values).load(), expected)
    data = template.filled([dumps(value, 5) for value in values])
    if data is not None:
        assert same(loads(data), expected)


@pytest.mark.parametrize("results", [[dumps([1], 5), dumps(2, 5)], [memoryview(dumps("x", 5)), dumps(2, 5)]])
def test_a_result_that_is_not_simple_goes_the_general_way(results: list[Any]) -> None:
    found = template_of((future_of(), 5, future_of()))
    assert found is not None
    assert found[0].filled(results) is None
    payload = filled(found[0], results, None)
    assert isinstance(payload, bytes)
    assert serialize.load_arguments(payload) == ((loads(results[0]), 5, loads(results[1])), {})


def test_what_takes_a_pickler_has_no_template() -> None:
    future = future_of()
    assert template_of((1, "a")) is None
    assert template_of(([future],)) is None
    assert template_of((DataFuture(future, "file"),)) is None
    assert template_of((future, b"bytes")) is None
    assert template_of((future, "x" * 300)) is None
    assert template_of((*range(70), future)) is None
    assert type(dump_arguments((future, 1), {}, "f", None).arguments) is Template  # type: ignore[union-attr]
    assert type(dump_arguments((future,), {"key": 1}, "f", None).arguments) is bytes  # type: ignore[union-attr]
