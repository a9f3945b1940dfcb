import os
import resource
import socket
import tracemalloc
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from parsl_pool.errors import BadMessage
from parsl_pool.interchange import wire
from parsl_pool.interchange.stream import PeerGone, Stream, from_descriptor, pair

Message = tuple[int, bytes, list[int]]


@contextmanager
def streams(room: int = 0) -> Iterator[tuple[Stream, Stream]]:
    """Two connected streams. room: bytes that the kernel keeps for a receiver that does not read, about."""
    ours, theirs = pair()
    if room:
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, room)
    one, other = Stream(ours), Stream(theirs)
    try:
        yield one, other
    finally:
        one.close()
        other.close()


@contextmanager
def raw_stream() -> Iterator[tuple[socket.socket, Stream]]:
    """A stream, and the bare socket that it reads from."""
    ours, theirs = pair()
    stream = Stream(theirs)
    try:
        yield ours, stream
    finally:
        ours.close()
        stream.close()


def frame(kind: int, body: bytes, descriptors: int = 0) -> bytes:
    return wire.HEAD.pack(len(body) + 2, kind, descriptors) + body


def file_with(text: bytes) -> int:
    fd = os.memfd_create("test")
    os.write(fd, text)
    return fd


def content(fd: int) -> bytes:
    """What is in the file, which is closed."""
    try:
        return os.pread(fd, 100, 0)
    finally:
        os.close(fd)


def open_descriptors() -> set[str]:
    return set(os.listdir("/proc/self/fd"))


def receive_all(stream: Stream) -> list[Message]:
    """Everything that has come by now."""
    messages: list[Message] = []
    while more := stream.receive():
        messages += more
    return messages


def test_frames_arrive_whole_and_in_order() -> None:
    with streams() as (one, other):
        for number in range(100):
            one.put(frame(number, b"x" * number))
        assert one.wants_write and one.bytes_waiting == sum(6 + number for number in range(100))
        assert one.flush()
        assert not one.wants_write and one.bytes_waiting == 0
        assert receive_all(other) == [(number, b"x" * number, []) for number in range(100)]
        assert other.receive() == []


def test_a_frame_may_come_in_any_two_pieces() -> None:
    data = frame(1, b"one") + frame(2, b"") + frame(3, b"three") + frame(4, bytes(range(20)))
    whole: list[Message] = [(1, b"one", []), (2, b"", []), (3, b"three", []), (4, bytes(range(20)), [])]
    for cut in range(len(data) + 1):
        with raw_stream() as (sock, stream):
            sock.sendall(data[:cut])
            messages = stream.receive()
            sock.sendall(data[cut:])
            assert messages + stream.receive() == whole, cut


def test_a_frame_may_come_byte_by_byte() -> None:
    with raw_stream() as (sock, stream):
        messages = []
        for byte in frame(1, b"abc") + frame(2, b"de"):
            sock.sendall(bytes([byte]))
            messages.append(stream.receive())
        assert [(place, got) for place, got in enumerate(messages) if got] == [
            (8, [(1, b"abc", [])]),
            (16, [(2, b"de", [])]),
        ]


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_what_a_slow_reader_gets_is_what_was_sent(data: st.DataObject) -> None:
    """The socket takes a part of a frame, or of several; the reader takes any number of bytes at a time."""
    sizes = data.draw(st.lists(st.sampled_from([0, 1, 100, 5_000, 30_000]), min_size=1, max_size=25))
    expected = b"".join(frame(1, bytes([place]) * size) for place, size in enumerate(sizes))
    with streams(room=1) as (one, other):
        for place, size in enumerate(sizes):
            one.put(frame(1, bytes([place]) * size))
        other.sock.setblocking(True)
        got = b""
        while len(got) < len(expected):
            done = one.flush()
            assert done == (not one.wants_write) and (one.bytes_waiting == 0) == done
            got += other.sock.recv(data.draw(st.sampled_from([100, 1000, 4096, 100_000])))
            assert len(got) <= len(expected) - one.bytes_waiting
        assert got == expected


def test_a_peer_that_does_not_read_never_makes_us_wait() -> None:
    with streams() as (one, other):
        for _ in range(20):
            one.put(frame(1, bytes(1 << 20)))
            assert not one.flush()
        assert one.bytes_waiting > 19 << 20
        got = 0
        while got < 20:
            got += len(other.receive())
            one.flush()
        assert one.flush() and one.bytes_waiting == 0


# ---- descriptors


def test_descriptors_come_beside_their_frames() -> None:
    with streams() as (one, other):
        one.put(frame(1, b"none"))
        one.put(frame(2, b"two", 2), [file_with(b"a"), file_with(b"b")])
        one.put(frame(3, b"none"))
        one.put(frame(4, b"one", 1), [file_with(b"c")])
        assert one.flush()
        got = [(kind, [content(fd) for fd in fds]) for kind, _, fds in receive_all(other)]
        assert got == [(1, []), (2, [b"a", b"b"]), (3, []), (4, [b"c"])]


def test_programs_that_are_started_here_inherit_no_descriptor_that_came() -> None:
    with streams() as (one, other):
        one.put(frame(wire.TASKS, b"x", 1), [file_with(b"page")])
        assert one.flush()
        ((_, _, descriptors),) = other.receive()
        assert not os.get_inheritable(descriptors[0])
        assert content(descriptors[0]) == b"page"


def test_descriptors_are_closed_on_our_side_once_they_are_sent() -> None:
    with streams() as (one, other):
        before = open_descriptors()
        one.put(frame(1, b"", 1), [file_with(b"a")])
        assert len(open_descriptors() - before) == 1
        one.flush()
        assert open_descriptors() == before
        ((_, _, fds),) = other.receive()
        assert content(fds[0]) == b"a"


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 3), st.sampled_from([0, 3, 10_000])), min_size=1, max_size=30),
    st.data(),
)
def test_descriptors_stay_with_their_frames_however_the_bytes_are_cut(
    shapes: list[tuple[int, int]], data: st.DataObject
) -> None:
    before = open_descriptors()
    with streams(room=1) as (one, other):
        names = iter(b"%d" % number for number in range(1000))
        expected = deque[tuple[int, int, list[bytes]]]()
        for place, (count, size) in enumerate(shapes):
            texts = [next(names) for _ in range(count)]
            one.put(frame(place, bytes(size), count), [file_with(text) for text in texts])
            expected.append((place, size, texts))
        while expected:
            if data.draw(st.booleans()):
                one.flush()
            for kind, body, fds in other.receive():
                assert (kind, len(body), [content(fd) for fd in fds]) == expected.popleft()
            one.flush()
        assert one.flush() and not other.receive()
    assert open_descriptors() == before


def test_descriptors_of_a_frame_that_comes_in_pieces_wait_for_the_rest() -> None:
    data = frame(1, b"body", 1)
    for cut in range(1, len(data)):
        with raw_stream() as (sock, stream):
            fd = file_with(b"a")
            socket.send_fds(sock, [data[:cut]], [fd])
            os.close(fd)
            assert stream.receive() == []
            sock.sendall(data[cut:])
            ((kind, body, fds),) = stream.receive()
            assert (kind, body, [content(fd) for fd in fds]) == (1, b"body", [b"a"])


def test_closing_closes_every_descriptor_that_is_on_its_way() -> None:
    before = open_descriptors()
    with streams() as (one, _other):
        one.put(frame(1, b"", 1), [file_with(b"sent")])
        one.flush()
        one.put(frame(2, b"", 1), [file_with(b"not sent")])
    assert open_descriptors() == before
    with raw_stream() as (sock, stream):
        fd = file_with(b"of half a frame")
        socket.send_fds(sock, [frame(1, b"body", 1)[:5]], [fd])
        os.close(fd)
        assert stream.receive() == []
    assert open_descriptors() == before


@contextmanager
def room_for_descriptors(count: int) -> Iterator[None]:
    """This process may open so many more."""
    spare = [os.open(os.devnull, os.O_RDONLY) for _ in range(count + 1)]
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    limit = max(spare)
    filler = []
    for fd in spare:
        os.close(fd)
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))
    try:
        # Lower numbers may have been free, too.
        while True:
            try:
                filler.append(os.open(os.devnull, os.O_RDONLY))
            except OSError:
                break
        for fd in filler[len(filler) - count :]:
            os.close(fd)
        del filler[len(filler) - count :]
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        for fd in filler:
            os.close(fd)


@pytest.mark.parametrize("room", [0, 1, 2])
def test_descriptors_that_find_no_room_end_the_connection(room: int) -> None:
    """Which of them came can't be told: nothing that comes after may be taken for anything."""
    before = open_descriptors()
    with streams() as (one, other):
        one.put(frame(1, b"first"))
        one.put(frame(2, b"too many", 3), [file_with(b"a"), file_with(b"b"), file_with(b"c")])
        one.put(frame(3, b"after"))
        one.flush()
        got: list[Message] = []
        with room_for_descriptors(room), pytest.raises(PeerGone):
            while True:
                got += other.receive()
        assert got in ([], [(1, b"first", [])])
        one.put(frame(4, b"more"))
        one.flush()
        with pytest.raises(PeerGone):
            other.receive()
    assert open_descriptors() == before, "those that did find room"


# ---- ends, and rubbish


def test_what_came_before_the_end_is_received() -> None:
    with streams() as (one, other):
        one.put(frame(1, b"last words"))
        one.flush()
        one.close()
        assert other.receive() == [(1, b"last words", [])]
        for _ in range(2):
            with pytest.raises(PeerGone):
                other.receive()


def test_half_a_frame_before_the_end_is_dropped() -> None:
    with raw_stream() as (sock, stream):
        sock.sendall(frame(1, b"abc") + frame(2, b"def")[:-1])
        sock.close()
        assert stream.receive() == [(1, b"abc", [])]
        with pytest.raises(PeerGone):
            stream.receive()


@pytest.mark.parametrize("with_descriptor", [False, True])
def test_writing_to_nobody_tells_so(with_descriptor: bool) -> None:
    before = open_descriptors()
    with streams() as (one, other):
        other.close()
        if with_descriptor:
            one.put(frame(1, b"", 1), [file_with(b"a")])
        else:
            one.put(frame(1, b""))
        with pytest.raises(PeerGone):
            one.flush()
    assert open_descriptors() == before


def test_an_end_in_the_middle_of_a_large_frame_tells_so() -> None:
    with streams() as (one, other):
        one.put(frame(1, bytes(1 << 20)))
        assert not one.flush()
        other.close()
        with pytest.raises(PeerGone):
            one.flush()


@pytest.mark.parametrize(
    "rubbish",
    [
        wire.HEAD.pack(0, 1, 0),
        wire.HEAD.pack(1, 1, 0),
        wire.HEAD.pack(wire.MAX_FRAME + 1, 1, 0),
        wire.HEAD.pack((1 << 32) - 1, 1, 0),
        wire.HEAD.pack(2, 1, 1),
    ],
    ids=[
        "empty",
        "no kind",
        "too large",
        "far too large",
        "descriptors that did not come",
    ],
)
def test_rubbish_is_noticed_and_costs_no_descriptor(rubbish: bytes) -> None:
    before = open_descriptors()
    with raw_stream() as (sock, stream):
        fd = file_with(b"a")
        socket.send_fds(sock, [frame(1, b"good", 1)], [fd])
        os.close(fd)
        sock.sendall(frame(2, b"good") + rubbish + bytes(100))
        got: list[Message] = []
        with pytest.raises(BadMessage):
            while True:
                more = stream.receive()
                got += more
                assert more, "neither messages nor an error"
        assert [body for _, body, _ in got] == [b"good"] * len(got)
        for _, _, fds in got:
            assert [content(fd) for fd in fds] in ([], [b"a"])
    assert open_descriptors() == before


@settings(max_examples=100, deadline=None)
@given(st.lists(st.binary(max_size=40), max_size=5))
def test_any_bytes_are_messages_or_rubbish(pieces: list[bytes]) -> None:
    with raw_stream() as (sock, stream):
        try:
            for piece in pieces:
                sock.sendall(piece)
                for _kind, body, fds in stream.receive():
                    assert len(body) <= sum(map(len, pieces)) and not fds
        except BadMessage:
            pass


def test_a_head_that_announces_two_gigabytes_costs_nothing() -> None:
    with raw_stream() as (sock, stream):
        stream.receive()  # it has its buffer now
        tracemalloc.start()
        try:
            sock.sendall(wire.HEAD.pack(wire.MAX_FRAME, 1, 0) + b"the first of many bytes")
            assert stream.receive() == []
            assert tracemalloc.get_traced_memory()[1] < 100_000
        finally:
            tracemalloc.stop()


def test_an_inherited_descriptor_is_a_socket_again() -> None:
    ours, theirs = pair()
    with ours, from_descriptor(theirs.detach()) as other:
        ours.sendall(b"x")
        assert other.recv(1) == b"x"
