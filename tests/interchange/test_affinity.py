"""Who gets which cores: by example, and whatever the numbers."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from parsl_pool.interchange.affinity import WORDS, assign, parts_of, shortly, variables

DEALT = [word for word in WORDS if word != "none"]
CORES = st.sets(st.integers(0, 300), min_size=1, max_size=40).map(sorted)


@pytest.mark.parametrize(
    "word, cores, parts",
    [
        ("none", [0, 1, 2, 3], [[], []]),
        ("block", [0, 1, 2, 3], [[0, 1], [2, 3]]),
        ("block-reverse", [0, 1, 2, 3], [[3, 2], [1, 0]]),
        ("alternating", [0, 1, 2, 3], [[0, 2], [1, 3]]),
        ("block", [4, 5, 8, 9, 10], [[4, 5, 8], [9, 10]]),
        ("alternating", [4, 5, 8, 9, 10], [[4, 8, 10], [5, 9]]),
        ("list:0-1,8:2, 3", [0, 1, 2, 3, 8, 9], [[0, 1, 8], [2, 3]]),
        ("list:1:1", [0, 1], [[1], [1]]),
    ],
)
def test_by_example(word: str, cores: list[int], parts: list[list[int]]) -> None:
    assert assign(word, cores, 2) == parts


@given(word=st.sampled_from(DEALT), cores=CORES, data=st.data())
def test_each_core_goes_to_one_worker_and_none_has_much_more_than_another(
    word: str, cores: list[int], data: st.DataObject
) -> None:
    workers = data.draw(st.integers(1, len(cores)))
    parts = assign(word, cores, workers)
    assert len(parts) == workers and sorted(core for part in parts for core in part) == cores
    sizes = [len(part) for part in parts]
    assert max(sizes) - min(sizes) <= 1 and sizes == sorted(sizes, reverse=True)


@given(word=st.sampled_from(DEALT), cores=CORES, more=st.integers(1, 100))
def test_a_worker_without_a_core_is_an_error(word: str, cores: list[int], more: int) -> None:
    reason = f"needs a core for each of {len(cores) + more} workers; there are {len(cores)}"
    with pytest.raises(ValueError, match=reason):
        assign(word, cores, len(cores) + more)


@given(parts=st.lists(CORES, min_size=1, max_size=12))
def test_a_list_is_read_as_it_is_written(parts: list[list[int]]) -> None:
    word = "list:" + ":".join(map(shortly, parts))
    assert parts_of(word) == parts
    assert assign(word, sorted({core for part in parts for core in part}), len(parts)) == parts


def test_a_list_for_a_large_node() -> None:
    word = "list:" + ":".join(f"{n}-{n + 7},{n + 104}-{n + 111}" for n in range(0, 96, 8))
    parts = assign(word, range(208), 12)
    assert [len(part) for part in parts] == [16] * 12 and parts[1][:2] == [8, 9] and parts[1][8:10] == [112, 113]
    assert not {96, 103, 200, 207} & {core for part in parts for core in part}, "not listed, left idle"


@pytest.mark.parametrize(
    "word, reason",
    [
        ("list:0:1:2", "is for 3 workers, and there are to be 2"),
        ("list:0-1", "is for 1 workers, and there are to be 2"),
        ("list:0:6-9", "names cores that this process may not use, or that are not there: 8-9; it may use 0-7"),
    ],
)
def test_a_list_that_does_not_fit_is_an_error(word: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        assign(word, range(8), 2)


@pytest.mark.parametrize(
    "text", ["", "0:", "a", "1-", "-1", "3-1", "0,,1", "0,0", "0-2,1", "1.5", "0x1", "²", "9999999"]
)
def test_rubbish_in_a_list_is_an_error(text: str) -> None:
    with pytest.raises(ValueError):
        parts_of(f"list:{text}")


def test_openmp_is_told() -> None:
    assert variables([3, 2]) == ["OMP_NUM_THREADS=2", "GOMP_CPU_AFFINITY=3,2", "KMP_AFFINITY=explicit,proclist=[3,2]"]
    assert variables([]) == []


@given(cores=CORES)
def test_a_short_form_says_the_same(cores: list[int]) -> None:
    assert parts_of(f"list:{shortly(cores[::-1])}") == [cores]
