import os
from collections import deque

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from parsl_pool.interchange import shared_memory
from parsl_pool.interchange.page import (
    CLAIM_SLOTS,
    CLAIMS_SIZE,
    CONSUMED,
    OUT,
    RING_SIZE,
    RING_START,
    WRAP,
    ClaimsTable,
    Page,
    mark_of,
)
from tests.interchange.ring import HEAD, Record, Ring, records_in, ring

LARGEST = RING_SIZE // 4  # of the records that go into the ring
SIZES = [HEAD, HEAD + 1, 2 * HEAD, 100, 1000, LARGEST - 1, LARGEST]


def test_results_are_read_as_they_were_put() -> None:
    with ring() as it:
        put = [it.put(size) for size in (HEAD, 20, 1000)]
        assert it.read() == put
        assert it.read() == []


@pytest.mark.parametrize("size", [HEAD, HEAD + 1, 40, LARGEST])
def test_a_record_may_begin_anywhere_near_the_end_of_the_ring(size: int) -> None:
    """At each of the last places: it fits, or fits exactly, or the ring begins anew."""
    with ring() as it:
        for left in [*range(60), size - 1, size, size + 1, size + HEAD]:
            it.go_to(RING_SIZE - left)
            put = [it.put(size), it.put(HEAD + 3)]
            assert it.read() == put, left
            it.page.release()


@pytest.mark.parametrize("left", [0, 1, HEAD - 1, HEAD, HEAD + 1, 30])
def test_a_reader_may_look_between_any_two_records_around_the_wrap(left: int) -> None:
    for looks in range(8):  # after which of the three records it looks
        with ring() as it:
            it.go_to(RING_SIZE - left - 20)
            got = []
            put = []
            for place, size in enumerate((20, 25, 30)):
                put.append(it.put(size))
                if looks >> place & 1:
                    got += it.read()
            assert got + it.read() == put


def test_a_reader_may_have_an_older_end_than_the_worker() -> None:
    """A message says how far, and takes its time: the worker has gone on, and begun the ring anew."""
    with ring() as it:
        it.go_to(RING_SIZE - 30)
        first = it.put(30)  # ends where the ring does
        end = it.committed
        second = it.put(30)
        assert it.read(end) == [first]
        assert it.read() == [second]


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_a_reader_that_looks_at_any_time_gets_each_result_once(data: st.DataObject) -> None:
    """Whatever happens, what was not released is still there: it is read again when the manager has died."""
    in_ring: list[Record] = []
    beside: list[Record] = []
    got: list[Record] = []
    released = 0
    with ring() as it:
        it.go_to(RING_SIZE - data.draw(st.integers(0, 3 * LARGEST)))
        ends = deque([it.committed])
        for _ in range(data.draw(st.integers(1, 40))):
            match data.draw(st.sampled_from(["put", "put", "put", "read", "read old", "release"])):
                case "put":
                    record = it.put(data.draw(st.sampled_from(SIZES)))
                    bulk = [(each.task, each.status, each.data) for each in it.bulk()]
                    assert bulk in ([], [record])
                    (beside if bulk else in_ring).append(record)
                    ends.append(it.committed)
                case "read":
                    got += it.read()
                case "read old":
                    got += it.read(max(ends.popleft() if ends else 0, it.page.position))
                case "release":
                    it.page.release()
                    released = len(got)
            assert survivors(it) == in_ring[released:]
            assert got == in_ring[: len(got)]
        assert got + it.read() == in_ring


def survivors(it: Ring) -> list[Record]:
    """What can be read by somebody who only has the page."""
    page = Page(it.page.fd)
    try:
        page.position = page.words[CONSUMED]
        return records_in(page.take(page.words[OUT]))
    finally:
        page.close()


def test_a_full_ring_takes_no_more_until_it_is_released() -> None:
    with ring() as it:
        put = [it.put(LARGEST) for _ in range(4)]
        assert it.bulk() == []
        beside = it.put(HEAD)
        assert [record.task for record in it.bulk()] == [beside[0]]
        assert it.read() == put
        assert it.put(HEAD) and len(it.bulk()) == 1, "read, but not released"
        it.page.release()
        again = [it.put(LARGEST) for _ in range(4)]
        assert it.bulk() == [] and it.read() == again


@pytest.mark.parametrize("size, ways", [(LARGEST, 0), (LARGEST + 1, 1), (HEAD + (1 << 16), 1), (1 << 20, 1)])
def test_a_large_result_goes_beside_the_ring(size: int, ways: int) -> None:
    with ring() as it:
        it.put(size)
        assert len(it.bulk()) == ways and len(it.read()) == 1 - ways


def test_a_result_in_parts_goes_beside_the_ring() -> None:
    with ring() as it:
        it.worker._put(1, 0, [b"B", b"parts", memoryview(b"of it")])
        ((task, data),) = [(record.task, record.data) for record in it.bulk()]
        assert (task, data) == (1, b"Bpartsof it")


@pytest.mark.parametrize("end", [-1, RING_SIZE + 1, 1 << 40, (1 << 64) - 1])
def test_a_damaged_end_is_noticed(end: int) -> None:
    """A task wrote over the worker's memory."""
    with ring() as it:
        it.go_to(100)
        with pytest.raises(ValueError, match="ring positions"):
            it.page.take(it.page.position + end if end < 1 << 39 else end)


@settings(max_examples=100, deadline=None)
@given(st.integers(0, (1 << 64) - 1), st.integers(0, (1 << 64) - 1), st.integers(0, RING_SIZE - 1))
def test_whatever_a_task_writes_into_the_page_is_read_or_refused(end: int, wrap: int, start: int) -> None:
    with ring() as it:
        it.page.position = start
        it.page.words[OUT], it.page.words[WRAP] = end, wrap
        for upto in (end, start + end % (RING_SIZE + 1)):
            it.page.position = start
            try:
                assert len(it.page.take(upto)) <= RING_SIZE + RING_START
            except ValueError:
                pass


# ---- claims


@pytest.fixture
def table() -> ClaimsTable:
    fd = shared_memory.create(CLAIMS_SIZE, "claims")
    table = ClaimsTable(shared_memory.map_shared(fd, CLAIMS_SIZE))
    os.close(fd)
    return table


def test_what_nobody_has_claimed_can_be_cancelled(table: ClaimsTable) -> None:
    assert not table.is_claimed(5)
    assert table.cancel(5) and table.cancel(5)
    assert not table.is_claimed(5)
    table.close()


def test_what_a_worker_has_claimed_cannot_be_cancelled(table: ClaimsTable) -> None:
    table.claims[5] = mark_of(5)
    assert table.is_claimed(5)
    assert not table.cancel(5)
    assert table.cancels[5] == 0
    table.close()


def test_a_slot_tells_its_tasks_apart(table: ClaimsTable) -> None:
    table.claims[5] = mark_of(5)
    assert not table.is_claimed(5 + CLAIM_SLOTS)
    assert table.cancel(5 + CLAIM_SLOTS)
    assert table.is_claimed(5)
    table.close()


@given(st.integers(0, (1 << 64) - 1))
def test_a_mark_is_a_byte_that_an_empty_slot_does_not_have(task: int) -> None:
    assert 1 <= mark_of(task) <= 255
    assert mark_of(task) != mark_of(task + CLAIM_SLOTS)
