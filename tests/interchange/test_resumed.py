"""Payloads that tell a try of those before it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from parsl_pool.errors import BadMessage
from parsl_pool.interchange import columns, resumed, serialize, shared_memory
from parsl_pool.interchange.inline import inline_tasks
from tests.interchange.frames import tasks

U64 = st.integers(0, (1 << 64) - 1)


@given(U64, st.integers(0, (1 << 32) - 1), st.binary(max_size=200), st.binary(min_size=1, max_size=50))
def test_what_is_put_together_comes_apart_again(task: int, number: int, state: bytes, payload: bytes) -> None:
    whole = b"".join([*resumed.head(task, number, state), payload])
    assert whole[0] == resumed.FORM
    told, rest = resumed.split(whole)
    assert (told.task, told.number, bytes(told.state), bytes(rest)) == (task, number, state, payload)
    if state:
        assert (len(whole) - len(payload)) % 64 == 0, "arrays in the payload stay on their cache lines"


@given(st.binary(max_size=100))
def test_anything_else_is_refused(data: bytes) -> None:
    for rubbish in (data, b"T" + data):
        try:
            told, rest = resumed.split(rubbish)
        except BadMessage:
            continue
        assert rubbish[:1] == b"T" and len(told.state) + len(rest) < len(rubbish)


def test_a_state_that_is_cut_is_refused() -> None:
    whole = b"".join([*resumed.head(1, 0, b"state" * 100), b"payload"])
    for size in (0, 10, len(whole) // 2, len(whole) - len(b"payload")):
        with pytest.raises(BadMessage, match="form T"):
            resumed.split(whole[:size])


def test_it_stays_with_arguments_that_leave_shared_memory() -> None:
    """On their way to a manager on another host."""
    fd = shared_memory.create(0, "arguments")
    serialize.write_all(fd, [b"\x80arguments"])
    payload = b"".join([*resumed.head(7, 2, b"state"), serialize.stand_in(10)])
    with_memory = tasks([1], payloads=[payload])
    with_memory.descriptors = [fd]
    inlined = inline_tasks(columns.Tasks.decode(with_memory.encode(), [fd]))
    told, rest = resumed.split(inlined.payload)
    assert (told.task, told.number, bytes(told.state), bytes(rest)) == (7, 2, b"state", b"\x80arguments")
