"""A dict that was large gets small again, whoever else uses it; and processes that pass things on look rarely."""

import sys

import pytest

from parsl_pool import portable
from parsl_pool.interchange import free_memory
from parsl_pool.interchange.free_memory import Ebb, give_back, resident, shrink_if_empty

MEGABYTE = 1 << 20


def emptied(entries: int) -> dict[int, None]:
    table = dict.fromkeys(range(entries))
    while table:
        table.popitem()
    return table


def test_a_large_dict_becomes_small_when_it_is_empty() -> None:
    table = emptied(100_000)
    assert sys.getsizeof(table) > MEGABYTE
    assert shrink_if_empty(table)
    assert sys.getsizeof(table) < 1000


def test_a_small_one_and_one_in_use_are_left_alone() -> None:
    assert not shrink_if_empty(emptied(100))
    table = dict.fromkeys(range(100_000))
    assert not shrink_if_empty(table)
    assert len(table) == 100_000


class EnteredMeanwhile(dict[int, None]):
    """Another thread enters something each time it is looked at."""

    looks = 0

    def __sizeof__(self) -> int:
        self[self.looks] = None
        self.looks += 1
        return 2 * MEGABYTE


def test_what_another_thread_enters_meanwhile_is_not_lost() -> None:
    table = EnteredMeanwhile()
    shrink_if_empty(table)
    assert 0 in table


@pytest.mark.skipif(not portable.has_proc(), reason="only glibc gives memory back on request")
def test_free_memory_goes_back_to_the_system() -> None:
    pieces = [bytearray(4000) for _ in range(20_000)]
    kept = pieces[::1000]  # so that the heap can't just end sooner
    before = resident()
    del pieces
    give_back()
    assert len(kept) == 20
    assert before - resident() > 50 * MEGABYTE


def test_one_looks_only_after_much_has_come(monkeypatch: pytest.MonkeyPatch) -> None:
    size, looks, given = [10 * MEGABYTE], [0], [0]

    def noted_size() -> int:
        looks[0] += 1
        return size[0]

    def noted_giving() -> None:
        given[0] += 1
        size[0] = 12 * MEGABYTE

    monkeypatch.setattr(free_memory, "resident", noted_size)
    monkeypatch.setattr(free_memory, "give_back", noted_giving)
    ebb = Ebb()
    looks[0] = 0
    for _ in range(7):
        ebb.came(MEGABYTE)
        ebb.nothing_waits()
    assert looks == [0]
    ebb.came(MEGABYTE)
    ebb.nothing_waits()
    assert (looks, given) == ([1], [0])  # it has not grown
    size[0] = 40 * MEGABYTE
    for _ in range(3):
        ebb.came(8 * MEGABYTE)
        ebb.nothing_waits()
    assert given == [1]  # and it has come back
