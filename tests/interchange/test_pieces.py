from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from parsl_pool.errors import BadMessage
from parsl_pool.interchange import pieces
from parsl_pool.interchange.pieces import PIECE, Incoming, Missing, Outgoing

SIZES = [2, 3, PIECE - 1, PIECE, PIECE + 1, 2 * PIECE, 2 * PIECE + 1, 10 * PIECE + 5]


class Line:
    """Takes what is sent to a zmq socket."""

    def __init__(self) -> None:
        self.pieces: list[bytes] = []

    def send(self, part: Any, flags: int) -> None:
        assert len(part) <= pieces.MAX_PART and not flags
        self.pieces.append(bytes(part))


def sent(*messages: bytes) -> list[list[bytes]]:
    """The pieces of each."""
    outgoing, all_of_them = Outgoing(), []
    for message in messages:
        line = Line()
        outgoing.send(line, message)
        all_of_them.append(line.pieces)
    return all_of_them


def received(incoming: Incoming, parts: list[bytes]) -> bytes | None:
    """The message that these pieces are; there is none before the last one."""
    *others, last = [incoming.message([part]) for part in parts]
    assert others == [None] * len(others)
    return last


def content(size: int) -> bytes:
    return bytes(range(251)) * (size // 251) + bytes(range(size % 251))


@settings(deadline=None, max_examples=30)
@given(sizes=st.lists(st.sampled_from(SIZES), max_size=6))
def test_messages_arrive_as_they_were_sent(sizes: list[int]) -> None:
    messages = [content(size) for size in sizes]
    incoming = Incoming()
    assert [received(incoming, parts) for parts in sent(*messages)] == messages


@settings(deadline=None, max_examples=60)
@given(sizes=st.lists(st.sampled_from(SIZES), min_size=2, max_size=5), data=st.data())
def test_whatever_is_left_out_is_missed_with_the_next_part(sizes: list[int], data: st.DataObject) -> None:
    """Also if two messages become one by that. What came before it has arrived."""
    messages = [content(size) for size in sizes]
    flat = [(part, number) for number, parts in enumerate(sent(*messages)) for part in parts]
    first = data.draw(st.integers(0, len(flat) - 2))
    last = data.draw(st.integers(first, len(flat) - 2))
    hurt = flat[first][1]
    rest = [part for part, number in flat[:first] if number == hurt] + [flat[last + 1][0]]
    incoming = Incoming()
    whole = sent(*messages)[:hurt]
    assert [received(incoming, parts) for parts in whole] == messages[:hurt]
    with pytest.raises(Missing):
        received(incoming, rest)


@pytest.mark.parametrize("data", [b"", b"a"])
def test_what_is_too_short_is_no_message(data: bytes) -> None:
    (parts,) = sent(data)
    with pytest.raises(BadMessage):
        Incoming().message(parts)


def test_a_message_of_two_parts_is_none_of_ours() -> None:
    (parts,) = sent(content(PIECE + 1))
    with pytest.raises(Missing):
        Incoming().message(parts)


def test_unnumbered_messages_count_only_where_they_are_accepted() -> None:
    part = pieces.unnumbered(b"hello")
    (numbered,) = sent(b"numbered")
    incoming = Incoming()
    assert incoming.message([part], accept_unnumbered=True) == b"hello"
    assert incoming.message(numbered, accept_unnumbered=True) == b"numbered"
    with pytest.raises(Missing):
        Incoming().message([part])
