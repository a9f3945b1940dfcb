"""Keys of values whose libraries need not be there: numpy, pandas; and our own File."""

import os
import pickle
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from parsl_pool.errors import UnknownMemoType
from parsl_pool.memoization.keys import id_for_memo, key_of_call

np: Any = pytest.importorskip("numpy", reason="numpy is in the extra 'test'")


def all_different(values: list[Any]) -> None:
    keys: dict[bytes, Any] = {}
    for value in values:
        key = id_for_memo(value)
        assert key not in keys, f"{value!r} has the key of {keys[key]!r}"
        keys[key] = value


def test_arrays_that_differ_in_anything_have_different_keys() -> None:
    all_different([
        np.arange(6), np.arange(6).reshape(2, 3), np.arange(6).reshape(3, 2), np.arange(6.0), np.arange(6, dtype="i4"),
        np.arange(6, dtype=">i4"), np.arange(7), np.arange(6)[::-1], np.array(0), np.array([0]), np.array([]),
        np.array([[]]), np.array([], dtype="i8"), np.array([True]), np.array(["a"]), np.array(["a "]), np.array([b"a"]),
        np.array([1, "a", None], dtype=object), np.array([1, "b", None], dtype=object), np.array([1 + 2j]),
        np.array(["2026-01-01"], dtype="M8[s]"), np.array(["2026-01-01"], dtype="M8[D]"), np.zeros(5000), np.ones(5000),
        np.array([(1, 2.0)], dtype=[("x", "i4"), ("y", "f8")]), np.array([(1, 2.0)], dtype=[("x", "i4"), ("z", "f8")]),
        np.array([[1]]), [0, 1, 2, 3, 4, 5],
        np.ma.array([1, 2], mask=[0, 1]), np.ma.array([1, 2], mask=[0, 0]), np.array([1, 2]),
    ])  # fmt: skip


def test_scalars_dtypes_and_functions_have_their_own_keys() -> None:
    all_different([
        np.float64(1), np.float32(1), np.int64(1), np.int32(1), np.bool_(True), 1, 1.0, True, np.str_("a"), "a",
        np.bytes_(b"a"), np.datetime64("2026-01-01"), np.timedelta64(1, "D"), np.longdouble(1), np.complex64(1),
        np.dtype("f8"), np.dtype("f4"), np.float64, np.float32, np.sin, np.cos, np.sum, np.linalg.norm, np,
    ])  # fmt: skip


@settings(max_examples=50, deadline=None)
@given(st.lists(st.lists(st.integers(0, 3), min_size=2, max_size=2), max_size=5), st.sampled_from(["C", "F"]))
def test_how_an_array_lies_in_memory_does_not_count(rows: list[list[int]], order: Any) -> None:
    array = np.array(rows, dtype="i8").reshape(-1, 2)
    other = np.asarray(np.repeat(array, 2, axis=0), order=order)[::2]
    assert id_for_memo(array) == id_for_memo(other) == id_for_memo(pickle.loads(pickle.dumps(array)))


def test_what_lies_between_fields_and_in_long_doubles_does_not_count() -> None:
    dtype = np.dtype({"names": ["x", "y"], "formats": ["i1", "f8"], "offsets": [0, 8], "itemsize": 16})
    one, two = (np.frombuffer(bytes([fill]) * 32, dtype="u1").copy().view(dtype) for fill in (0, 255))
    for array in (one, two):
        array["x"], array["y"] = 1, 2.5
    assert one.tobytes() != two.tobytes() and id_for_memo(one) == id_for_memo(two)
    assert id_for_memo(one[0]) == id_for_memo(two[0])
    assert id_for_memo(np.longdouble(1) / 3) == id_for_memo(np.longdouble(1) / 3)
    assert id_for_memo(np.ones(3, "g") / 3) != id_for_memo(np.ones(3, "g") / 7)


def test_a_memory_map_is_read(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.arange(10_000))
    mapped = np.load(tmp_path / "a.npy", mmap_mode="r")
    before = id_for_memo(mapped)
    assert before == id_for_memo(np.load(tmp_path / "a.npy", mmap_mode="r"))
    del mapped


def test_a_library_s_function_is_known_whatever_its_defaults_are() -> None:
    one = key_of_call(np.sum, (np.arange(3),), {})
    assert one == key_of_call(np.sum, (np.arange(3),), {})
    assert one != key_of_call(np.sum, (np.arange(3),), {"keepdims": True})
    assert key_of_call(os.path.join, ("a",), {}) != key_of_call(os.path.abspath, ("a",), {})


def test_a_user_s_array_class_is_refused() -> None:
    class Mine(np.ndarray):  # type: ignore[misc]
        pass

    with pytest.raises(UnknownMemoType, match="Mine"):
        id_for_memo(np.arange(3).view(Mine))


def test_an_unknown_object_in_an_array_is_told_with_the_way_to_it() -> None:
    def f(x: Any) -> None: ...

    with pytest.raises(UnknownMemoType) as caught:
        key_of_call(f, ([np.array([1, object()], dtype=object)],), {})
    assert (caught.value.where, caught.value.path) == ("argument x of f", "[0][1]")


# ---- pandas


@pytest.fixture
def pd() -> Any:
    return pytest.importorskip("pandas", reason="pandas is in the extra 'frameworks'")


@pytest.mark.frameworks
def test_pandas_values_that_differ_in_anything_have_different_keys(pd: Any) -> None:
    frame = pd.DataFrame({"a": [1, 2], "b": ["x", "y"]})
    all_different([
        frame, frame.rename(columns={"a": "c"}), frame[["b", "a"]], frame.set_index("a"), frame.iloc[::-1],
        frame.iloc[:1],
        frame.astype({"a": "f8"}), frame.astype({"b": "category"}), frame.assign(b=["x", "z"]), pd.DataFrame(),
        frame["a"], frame["a"].rename("c"), frame["a"].astype("Int64"), pd.Series([1, None], dtype="Int64"), frame["b"],
        pd.Series(["x", "y"], dtype="category"),
        pd.Series(["x", "y"], dtype=pd.CategoricalDtype(["x", "y"], ordered=True)),
        pd.Series(["x", "y"], dtype=pd.CategoricalDtype(["y", "x"])), pd.Index([1, 2]), pd.Index([1, 2], name="n"),
        pd.Index(["x"]), pd.MultiIndex.from_tuples([(1, "x")]), pd.MultiIndex.from_tuples([(1, "y")]),
        pd.date_range("2026", periods=2), pd.date_range("2026", periods=2, tz="UTC"), pd.interval_range(0, 2),
        pd.array([1, 2]), pd.array(["x"]), pd.Timestamp("2026"), pd.Timestamp("2026", tz="UTC"), pd.NaT, pd.NA,
        pd.Timedelta(1), pd.Timedelta(2), pd.Period("2026"), pd.Interval(0, 1), pd.CategoricalDtype(["a"]),
    ])  # fmt: skip


@pytest.mark.frameworks
def test_a_frame_that_was_pickled_has_the_same_key(pd: Any) -> None:
    frame = pd.DataFrame({
        "a": [1, 2], "b": ["x", None], "c": pd.Series(["x", "y"], dtype="category"),
        "d": pd.date_range("2026", periods=2, tz="UTC"), "e": pd.array([1, None], dtype="Int64"), "f": [{1}, [2]],
    })  # fmt: skip
    assert id_for_memo(frame) == id_for_memo(pickle.loads(pickle.dumps(frame))) == id_for_memo(frame.copy())
    assert id_for_memo(pd.RangeIndex(3)) == id_for_memo(pd.Index([0, 1, 2]))


@pytest.mark.frameworks
def test_an_unknown_object_in_a_frame_is_told_with_the_way_to_it(pd: Any) -> None:
    with pytest.raises(UnknownMemoType) as caught:
        id_for_memo(pd.DataFrame({"a": [1], "b": [object()]}))
    assert caught.value.type_name == "object" and caught.value.path.startswith(".iloc[:, 1]")


# ---- our own File


def test_an_input_file_is_its_url_size_and_time_and_an_output_its_url(tmp_path: Path) -> None:
    files: Any = pytest.importorskip("parsl_pool.files")
    path = tmp_path / "data.csv"
    path.write_text("one")
    os.utime(path, (1, 1))

    def f(inputs: Any = (), outputs: Any = ()) -> None: ...

    def keys() -> tuple[Any, Any]:
        file = files.File(path)
        return key_of_call(f, (), {"inputs": [file]}), key_of_call(f, (), {"outputs": [file]})

    before = keys()
    assert keys() == before and before[0] != before[1]
    os.utime(path, (2, 2))
    touched = keys()
    assert touched[0] != before[0] and touched[1] == before[1]
    path.write_text("longer")
    os.utime(path, (2, 2))
    assert keys()[0] != touched[0] and keys()[1] == before[1]
    path.unlink()
    assert len({*before, *touched, *keys()}) == 4
    assert id_for_memo(files.File("https://host/a")) != id_for_memo(files.File("https://host/b"))
