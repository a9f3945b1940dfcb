"""Arrays are what large payloads are made of: they must come back equal, writable, and where they may begin."""

from typing import Any

import pytest

from parsl_pool.interchange import serialize
from parsl_pool.interchange.serialize import LARGE
from tests.interchange.test_serialize import WAYS, Way, through_shared_memory, with_results

numpy = pytest.importorskip("numpy")

COUNT = LARGE // 8  # doubles


def arrays() -> dict[str, Any]:
    base = numpy.arange(4 * COUNT, dtype=float)
    readonly = base.copy()
    readonly.flags.writeable = False
    return {
        "large": base,
        "at the limit": base[:COUNT].copy(),
        "below the limit": base[: COUNT - 1].copy(),
        "fortran": numpy.asfortranarray(base.reshape(4, COUNT)),
        "not contiguous": base[::2],
        "reversed": base[::-1],
        "a part": base.reshape(4, COUNT)[1:3, 5:9],
        "transposed": base.reshape(4, COUNT).T,
        "read-only": readonly,
        "empty": base[:0],
        "no dimension": numpy.array(3.5),
        "of bytes": numpy.zeros(LARGE + 1, dtype="u1"),
        "structured": numpy.zeros(COUNT, dtype=[("a", "f8"), ("b", "i4")]),
        "of objects": numpy.array([None, "text", 3], dtype=object),
        "of texts": numpy.array(["text"] * LARGE),
        "masked": numpy.ma.masked_greater(base, 5),
    }


@WAYS
@pytest.mark.parametrize("kind", arrays())
def test_an_array_comes_back_equal_and_as_writable_as_it_was(kind: str, way: Way) -> None:
    array = arrays()[kind]
    got = serialize.load_value(way(serialize.dump_value(array, "it")))
    assert got.dtype == array.dtype and got.shape == array.shape
    assert numpy.array_equal(got, array) and type(got) is type(array)
    assert got.flags.writeable == array.flags.writeable
    if got.flags.writeable:
        got[...] = got.copy()


@WAYS
def test_one_array_in_two_places_is_one_array(way: Way) -> None:
    array = numpy.zeros(COUNT)
    one, other = serialize.load_value(way(serialize.dump_value([array, array], "it")))
    one[0] = 1
    assert other[0] == 1


def begins_on_a_cache_line(array: Any) -> bool:
    return bool(array.ctypes.data % 64 == 0)


def several() -> list[Any]:
    return [numpy.arange(COUNT + extra, dtype=float) for extra in (0, 1, 3, 7)]


def test_arrays_in_shared_memory_begin_on_a_cache_line() -> None:
    got = serialize.load_value(through_shared_memory(serialize.dump_value(several(), "it")))
    assert all(map(begins_on_a_cache_line, got))


def test_arrays_of_a_chunk_begin_on_a_cache_line() -> None:
    got = serialize.load_chunk(through_shared_memory(serialize.dump_chunk([tuple(several())] * 2, "it")))
    for call in got:
        assert all(map(begins_on_a_cache_line, call))
        assert all(map(numpy.array_equal, call, several()))


def test_arrays_in_results_begin_on_a_cache_line() -> None:
    from tests.interchange.test_serialize import Result

    payload = with_results(([Result(0), Result(1)], Result(2)), several(), "small", several()[1])
    ((both, last), _) = serialize.load_arguments(through_shared_memory(payload))
    assert both[1] == "small"
    assert all(map(begins_on_a_cache_line, [*both[0], last]))
    assert all(map(numpy.array_equal, [*both[0], last], [*several(), several()[1]]))


def test_an_array_is_not_copied_before_it_is_written() -> None:
    array = numpy.zeros(COUNT)
    payload = serialize.dump_value(array, "it")
    assert isinstance(payload, list)
    (part,) = [part for part in payload if isinstance(part, memoryview)]
    assert numpy.shares_memory(numpy.frombuffer(part), array)
