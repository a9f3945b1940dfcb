import os
import pickle
import sys
from collections.abc import Callable
from pickle import PickleBuffer
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from parsl_pool.errors import SerializationError
from parsl_pool.interchange import serialize, shared_memory
from parsl_pool.interchange.serialize import LARGE

SIZES = [0, 1, LARGE - 1, LARGE, LARGE + 1, 1 << 20]


def through_bytes(payload: bytes | list[Any]) -> Any:
    """The payload as it comes out of a socket."""
    return serialize.join(payload)


def through_shared_memory(payload: bytes | list[Any]) -> Any:
    """The payload as it comes out of a descriptor, at the start of a page."""
    short, fd = serialize.to_shared_memory(payload, "test")
    assert short[:1] == b"M" and int.from_bytes(short[1:], "little") == serialize.size_of(payload)
    view = serialize.from_shared_memory(fd)
    with pytest.raises(OSError):
        os.fstat(fd)
    assert len(view) == serialize.size_of(payload)
    return view


WAYS = pytest.mark.parametrize("way", [through_bytes, through_shared_memory])
Way = Callable[[bytes | list[Any]], Any]


class Buffers:
    """Has buffers that leave the pickle, as arrays do."""

    def __init__(self, *parts: Any) -> None:
        self.parts = parts

    def __reduce_ex__(self, protocol: Any) -> Any:
        return Buffers, tuple(PickleBuffer(part) for part in self.parts)


@WAYS
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("kind", [bytes, bytearray, lambda size: "é" * size, lambda size: [1.5] * (size // 8)])
def test_values_of_any_size_come_back(kind: Callable[[int], Any], size: int, way: Way) -> None:
    value = kind(size)
    assert serialize.load_value(way(serialize.dump_value(value, "it"))) == value


@pytest.mark.parametrize("value", [0, 1.5, True, None, "x", 1j, (), [], {}, {1, 2}, frozenset({3}), b"", range(3)])
def test_small_values_are_plain_pickles(value: Any) -> None:
    data = serialize.dump_value(value, "it")
    assert isinstance(data, bytes) and data[:1] == b"\x80"
    assert serialize.load_value(data) == value


@pytest.mark.parametrize("size", SIZES)
def test_buffers_leave_the_pickle_when_they_are_large(size: int) -> None:
    payload = serialize.dump_value(Buffers(bytes(size)), "it")
    assert isinstance(payload, list) == (size >= LARGE)
    assert len(payload) < LARGE or isinstance(payload, bytes)


@WAYS
@pytest.mark.parametrize("sizes", [SIZES, SIZES[::-1], [LARGE, LARGE + 1, LARGE + 63, LARGE + 64, LARGE + 65]])
def test_buffers_come_back_in_their_order_and_as_writable_as_they_were(sizes: list[int], way: Way) -> None:
    sent = [bytearray([place + 1]) * size for place, size in enumerate(sizes)]
    sent[0] = bytes(sent[0])  # type: ignore[call-overload]  # one that is read-only
    got = serialize.load_value(way(serialize.dump_value([Buffers(*sent), Buffers(*sent)], "it")))
    for each in got:
        assert [bytes(part) for part in each.parts] == sent
        assert [memoryview(part).readonly for part in each.parts] == [True, *[False] * (len(sizes) - 1)]
        for part in each.parts[1:]:
            part[:1] = b"!"[: len(part)]


def test_writing_to_shared_memory_is_seen_by_nobody_else() -> None:
    """A task may write into its arguments; another try must see them as they were."""
    fd = shared_memory.create(8, "test")
    os.write(fd, b"original")
    again = os.dup(fd)
    view = serialize.from_shared_memory(fd)
    view[:3] = b"ABC"
    other = serialize.from_shared_memory(again)
    assert (bytes(view), bytes(other)) == (b"ABCginal", b"original")


@settings(max_examples=50, deadline=None)
@given(st.lists(st.sampled_from([0, 1, 64, LARGE - 1, LARGE, LARGE + 7, 3 * LARGE]), max_size=5), st.data())
def test_nested_values_with_buffers_come_back(sizes: list[int], data: st.DataObject) -> None:
    value: Any = [Buffers(bytes([place]) * size) for place, size in enumerate(sizes)]
    for _ in range(data.draw(st.integers(0, 3))):
        value = {"deeper": value, "text": "x" * data.draw(st.sampled_from([0, 10, LARGE]))}
    way = data.draw(st.sampled_from([through_bytes, through_shared_memory]))
    got = serialize.load_value(way(serialize.dump_value(value, "it")))
    while isinstance(got, dict):
        assert got["text"] == value["text"]
        got, value = got["deeper"], value["deeper"]
    assert [[bytes(part) for part in each.parts] for each in got] == [
        [bytes([place]) * size] for place, size in enumerate(sizes)
    ]


def test_what_cannot_be_imported_goes_by_value() -> None:
    class Local:
        x = 3

    function = serialize.load_value(through_bytes(serialize.dump_value(lambda: Local().x, "it")))
    assert function() == 3


def test_large_buffers_of_what_goes_by_value_leave_the_pickle_too() -> None:
    payload = serialize.dump_value([lambda: 1, Buffers(bytes(LARGE))], "it")
    assert isinstance(payload, list)
    function, buffers = serialize.load_value(through_bytes(payload))
    assert function() == 1 and len(buffers.parts[0]) == LARGE


def test_what_cannot_be_pickled_is_named() -> None:
    with pytest.raises(SerializationError, match=r"cannot pickle the result, at \['lock'\]: TypeError") as caught:
        serialize.dump_value({"lock": __import__("threading").Lock()}, "the result")
    assert (caught.value.name, caught.value.path) == ("the result", "['lock']")


def test_an_unknown_form_is_refused() -> None:
    with pytest.raises(pickle.UnpicklingError, match="0x5a"):
        serialize.load_value(b"Z...")


@settings(max_examples=200, deadline=None)
@given(st.binary(min_size=1, max_size=40), st.sampled_from([b"B", b"D", b"C\x02B", b"C\x02D"]))
def test_damaged_heads_raise_and_do_not_crash(data: bytes, form: bytes) -> None:
    """Only heads: a damaged pickle may do anything, and comes from our own processes only."""
    data = data.replace(b"\x80", b"")
    for load in (serialize.load_value, serialize.load_arguments, serialize.load_chunk):
        try:
            load(form + data)
        except Exception:  # which one is not said
            continue


# ---- arguments


def test_arguments_are_positional_or_both() -> None:
    assert serialize.load_arguments(pickle.dumps((1, 2))) == ((1, 2), {})
    args, kwargs = serialize.load_arguments(pickle.dumps([(1,), {"key": 2}]))
    assert (tuple(args), kwargs) == ((1,), {"key": 2})


@WAYS
@pytest.mark.parametrize("size", SIZES)
def test_a_chunk_comes_back(size: int, way: Way) -> None:
    calls = [(Buffers(bytes([1]) * size), 1), (Buffers(bytes([2]) * size), 2)]
    got = serialize.load_chunk(way(serialize.dump_chunk(calls, "it")))
    assert [(bytes(buffers.parts[0]), number) for buffers, number in got] == [
        (bytes([1]) * size, 1),
        (bytes([2]) * size, 2),
    ]


class Tokens(pickle.Pickler):
    """Puts tokens where there are Results."""

    def persistent_id(self, thing: Any) -> Any:
        return thing.token if isinstance(thing, Result) else None


class Result:
    def __init__(self, number: int, *path: tuple[str, Any]) -> None:
        self.token = (number, path)


def with_results(arguments: Any, *results: Any) -> list[Any]:
    import io

    file = io.BytesIO()
    Tokens(file, 5).dump(arguments)
    payloads = [serialize.join(serialize.dump_value(result, "it")) for result in results]
    return serialize.dump_with_results(file.getvalue(), payloads)


@WAYS
@pytest.mark.parametrize("size", SIZES)
def test_results_take_the_places_of_their_tokens(size: int, way: Way) -> None:
    payload = with_results(([Result(1)], Result(0), 5), {"a": 1}, Buffers(b"x" * size))
    (listed, first, five), kwargs = serialize.load_arguments(way(payload))
    assert (first, five, kwargs) == ({"a": 1}, 5, {})
    assert bytes(listed[0].parts[0]) == b"x" * size


def test_one_result_in_two_places_is_one_object() -> None:
    (one, other), _ = serialize.load_arguments(through_bytes(with_results((Result(0), Result(0)), [1])))
    assert one is other


def test_a_token_may_lead_inside_a_result() -> None:
    payload = with_results((Result(0, ("item", "key"), ("item", 1), ("attr", "real")),), {"key": [1, 2]})
    assert serialize.load_arguments(through_bytes(payload)) == ((2,), {})


@pytest.mark.parametrize("sizes", [[LARGE], [10, LARGE, 3, 2 * LARGE], [LARGE + 1] * 3])
def test_results_lie_where_arrays_may_begin(sizes: list[int]) -> None:
    """Each large payload on a cache line, counted from the start of the whole."""
    payloads = [b"\x80" + bytes(size - 1) for size in sizes]
    whole = serialize.join(serialize.dump_with_results(b"arguments", payloads))
    place = 0
    for payload in payloads:
        place = whole.index(payload, place) if len(payload) >= LARGE else place
        if len(payload) >= LARGE:
            assert place % 64 == 0
            place += len(payload)


# ---- writing


def test_writing_copes_with_many_parts_and_with_empty_ones() -> None:
    parts = [b"", b"a", bytearray(b"bc"), memoryview(b"def"), b""] * 700
    fd = shared_memory.create(0, "test")
    try:
        serialize.write_all(fd, parts)
        assert os.pread(fd, 10_000, 0) == b"abcdef" * 700
    finally:
        os.close(fd)


def test_writing_copes_with_a_file_that_takes_little_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    written = bytearray()

    def three_bytes(fd: int, views: list[memoryview]) -> int:
        written.extend(b"".join(views)[:3])
        return min(3, sum(map(len, views)))

    monkeypatch.setattr(os, "writev", three_bytes)
    serialize.write_all(-1, [b"ab", b"cdefg", b"h", b"", b"ij"])
    assert written == b"abcdefghij"


def test_no_memory_is_told_and_costs_no_descriptor(monkeypatch: pytest.MonkeyPatch) -> None:
    before = os.listdir("/proc/self/fd")

    def full(fd: int, views: list[memoryview]) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "writev", full)
    with pytest.raises(OSError):
        serialize.to_shared_memory(b"x" * LARGE, "test")
    assert os.listdir("/proc/self/fd") == before


# ---- large pickles


class InMain:
    """Says that it is from the user's script."""


InMain.__module__ = "__main__"


@settings(deadline=None)
@given(st.lists(st.sampled_from([10, LARGE - 1, LARGE, 3 * LARGE]), max_size=5), st.data())
def test_large_bytes_are_handed_on_uncopied_at_any_depth(sizes: list[int], data: st.DataObject) -> None:
    blobs = [bytes([number]) * size for number, size in enumerate(sizes)]
    value = [blobs, {"deep": [(blob, str(blob)) for blob in blobs]}, data.draw(st.text())]
    got, buffers = serialize.dump_parts(value)
    parts = [got] if isinstance(got, bytes) else got
    for blob in blobs:
        assert (len(blob) >= LARGE) == any(part is blob for part in parts)
    assert not buffers and pickle.loads(serialize.join(got)) == value
    assert serialize.dump_parts(5)[0] == pickle.dumps(5, 5)  # nothing is left of it


@pytest.mark.parametrize("size", [0, LARGE, 10 * LARGE])
def test_a_name_in_main_is_found_beside_large_bytes_and_none_is_seen_in_them(
    size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.modules["__main__"], "InMain", InMain, raising=False)
    blob = b"x" * size
    for value in ([blob, InMain], [InMain, blob], [10 ** (size // 2), InMain()], {InMain: [blob]}):
        assert serialize.names_main(serialize.dump_parts(value)[0])
    assert not serialize.names_main(serialize.dump_parts([b"__main__" * LARGE])[0])
    assert not serialize.names_main(serialize.dump_parts([blob, [5]])[0])


def test_a_pickle_that_fails_leaves_nothing_for_the_next() -> None:
    for _ in range(3):
        with pytest.raises(TypeError):
            serialize.dump_parts([b"x" * LARGE, PickleBuffer(bytearray(LARGE)), __import__("threading").Lock()])
        assert pickle.loads(serialize.join(serialize.dump_parts(["it"])[0])) == ["it"]


def test_pickling_within_pickling_mixes_nothing_up() -> None:
    class Nested:
        def __reduce__(self) -> Any:
            return bytes, (serialize.join(serialize.dump_parts([b"y" * LARGE, 1])[0]),)

    outer = pickle.loads(serialize.join(serialize.dump_parts(["before", Nested(), "after"])[0]))
    assert outer[::2] == ["before", "after"] and pickle.loads(outer[1]) == [b"y" * LARGE, 1]
