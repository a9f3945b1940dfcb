"""What web servers send, byte by byte: heads and bodies, good ones and others."""

import http.client
import io
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from parsl_pool.staging.transfers.web_heads import LONGEST, Garbled, Head, Headers, head_of
from parsl_pool.staging.transfers.web_wire import Ended, Wire

pytestmark = pytest.mark.timeout(60)

CALM = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
FEW = settings(CALM, max_examples=60)

TOKEN = st.text("abcdefghijklmnopqrstuvwxyzABCXYZ0123456789!#$%&'*+-.^_`|~", min_size=1, max_size=20)
TEXT = st.text(
    st.characters(min_codepoint=0x20, max_codepoint=0xFF, blacklist_characters="\x7f\x80\x85"), max_size=40
).map(str.strip)
# What says how long the body is has tests of its own.
HEADERS = st.lists(
    st.tuples(TOKEN.filter(lambda name: name.lower() not in ("content-length", "transfer-encoding")), TEXT), max_size=8
)
REASON = st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E), max_size=20).map(str.strip)


def written(status: int, reason: str, headers: list[tuple[str, str]], end: str = "\r\n", blank: str = " ") -> bytes:
    lines = [f"HTTP/1.1 {status} {reason}", *[f"{name}:{blank}{value}" for name, value in headers], "", ""]
    return end.join(lines).encode("latin-1")


class Played:
    """A socket for http.client, which has come to its end."""

    def __init__(self, data: bytes) -> None:
        self.data = data

    def makefile(self, mode: str) -> io.BytesIO:
        return io.BytesIO(self.data)


# ---- heads


@CALM
@given(st.integers(200, 599), REASON, HEADERS, st.sampled_from(["\r\n", "\n"]), st.sampled_from(["", " ", "\t ", "  "]))
def test_a_head_is_read_as_the_standard_library_reads_it(
    status: int, reason: str, headers: list[tuple[str, str]], end: str, blank: str
) -> None:
    data = written(status, reason, headers, end, blank)
    head = head_of(data)
    other = http.client.HTTPResponse(Played(data))  # type: ignore[arg-type]  # it needs no more of a socket
    other.begin()
    assert (head.status, head.reason) == (other.status, other.reason)
    for name, _ in headers:
        values = [value.strip(" \t") for value in other.headers.get_all(name) or ()]
        assert head.headers.get(name.swapcase()) == joined(values)
    assert head.is_last == other.will_close and head.length == other.length and head.is_chunked == other.chunked


def joined(values: list[str]) -> str:
    text = values[0]
    for value in values[1:]:
        text = text if value == text else f"{text}, {value}"
    return text


@CALM
@given(st.binary(max_size=200))
def test_bytes_are_a_head_or_garbled_and_nothing_else(data: bytes) -> None:
    with pytest.raises(Garbled):
        head_of(data)  # that it is one by chance would be a wonder


@CALM
@given(st.integers(200, 599), REASON, HEADERS, st.data())
def test_a_head_in_which_bytes_were_changed_is_another_one_or_garbled(
    status: int, reason: str, headers: list[tuple[str, str]], data: st.DataObject
) -> None:
    good = bytearray(written(status, reason, headers))
    for _ in range(data.draw(st.integers(1, 3))):
        good[data.draw(st.integers(0, len(good) - 1))] = data.draw(st.integers(0, 255))
    try:
        head = head_of(bytes(good))
    except Garbled:
        return
    names = list(head.headers._values)
    said = [head.reason, *names, *map(head.headers.get, names)]
    assert not any(letter in text for text in said for letter in "\r\n\0")


@pytest.mark.parametrize(
    "data",
    [
        b"HTTP/1.1 200 OK\r\nA b: c\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nA : c\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n: c\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nA\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nA: b\rc\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nA: b\0c\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n A: b\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nA: b\r\n",
        b"HTTP/1.1 200 OK\r\n\r\nA: b\r\n\r\n",
        b"HTTP/1.1 20 OK\r\n\r\n",
        b"HTTP/1.1 2000 OK\r\n\r\n",
        b"HTTP/1.1  200 OK\r\n\r\n",
        b"HTTP/2.0 200 OK\r\n\r\n",
        b"http/1.1 200 OK\r\n\r\n",
        b"\r\nHTTP/1.1 200 OK\r\n\r\n",
        b"SSH-2.0-OpenSSH_9.2\r\n\r\n",
        b"",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: +5\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 0x5\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5 5\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: \xb2\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1234567890123456789\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n",
    ],
)
def test_a_head_that_is_none_is_garbled(data: bytes) -> None:
    with pytest.raises(Garbled):
        head_of(data)


@pytest.mark.parametrize(
    "lines, length, is_chunked, is_last",
    [
        ("HTTP/1.1 200 OK\nContent-Length: 12", 12, False, False),
        ("HTTP/1.1 200\nContent-Length: 0", 0, False, False),
        ("HTTP/1.1 200 OK\nContent-Length: 5\ncontent-length: 5", 5, False, False),
        ("HTTP/1.1 200 OK\nTransfer-Encoding: Chunked", None, True, False),
        ("HTTP/1.1 200 OK\nTransfer-Encoding: identity\nContent-Length: 3", 3, False, False),
        ("HTTP/1.1 200 OK", None, False, True),
        ("HTTP/1.1 204 OK", 0, False, False),
        ("HTTP/1.1 304 OK\nContent-Length: 9", 0, False, False),
        ("HTTP/1.1 200 OK\nContent-Length: 1\nConnection: close", 1, False, True),
        ("HTTP/1.1 200 OK\nContent-Length: 1\nConnection: x,CLOSE", 1, False, True),
        ("HTTP/1.1 200 OK\nContent-Length: 1\nConnection: keep-alive", 1, False, False),
        ("HTTP/1.0 200 OK\nContent-Length: 1", 1, False, True),
        ("HTTP/1.0 200 OK\nContent-Length: 1\nConnection: Keep-Alive", 1, False, False),
        ("HTTP/1.1 200 OK\nTransfer-Encoding: chunked\nContent-Length: 3", None, True, True),
    ],
)
def test_how_long_a_body_is_and_whether_more_can_follow(
    lines: str, length: "int | None", is_chunked: bool, is_last: bool
) -> None:
    head = head_of(lines.replace("\n", "\r\n").encode() + b"\r\n\r\n")
    assert (head.length, head.is_chunked, head.is_last) == (length, is_chunked, is_last)


def test_a_header_that_goes_on_in_the_next_line() -> None:
    head = head_of(b"HTTP/1.1 200 OK\r\nDigest: md5=x, \r\n  sha=y\r\n\tz\r\nEtag: a\r\n\r\n")
    assert head.headers.get("digest") == "md5=x,  sha=y z" and head.headers.get("ETag") == "a"


def test_values_of_the_same_name_are_a_list() -> None:
    headers = Headers([("A", "1"), ("a", "2"), ("A", "2"), ("B", " C, d")])
    assert headers.get("A") == "1, 2, 2" and headers.words("b") == ["c", "d"]
    assert headers.get("c") == "" and headers.words("c") == []


# ---- what comes by the network


@contextmanager
def sent(*pieces: bytes, ends: bool = True) -> Iterator[Wire]:
    """A connection on which these come, one after another."""
    mine, other = socket.socketpair()
    mine.settimeout(30)
    wire = Wire(mine)

    def send() -> None:
        for piece in pieces:
            other.sendall(piece)
        if ends:
            other.shutdown(socket.SHUT_WR)

    thread = threading.Thread(target=send)
    thread.start()
    try:
        yield wire
    finally:
        wire.close()
        thread.join()
        other.close()


def cut(data: bytes, places: list[int]) -> list[bytes]:
    edges = [0, *sorted(place % (len(data) + 1) for place in places), len(data)]
    return [data[first:last] for first, last in pairwise(edges)]


def read(wire: Wire) -> tuple[Head, bytes]:
    head = wire.head(30)
    return head, b"".join(map(bytes, wire.body(head)))


PLACES = st.lists(st.integers(0, 10_000), max_size=6)
BODIES = st.binary(max_size=300)
CHUNKS = st.lists(st.binary(min_size=1, max_size=300), max_size=5)
EXTENSION = st.sampled_from([b"", b" ", b";a=b", b" ; a"])
TRAILERS = st.sampled_from([b"", b"Digest: x\r\n", b"A: b\r\nC: d\r\n"])


def as_chunks(chunks: list[bytes], extension: bytes, trailers: bytes) -> bytes:
    coded = [b"%x%s\r\n%s\r\n" % (len(chunk), extension, chunk) for chunk in chunks]
    return b"".join(coded) + b"0%s\r\n%s\r\n" % (extension, trailers)


@FEW
@given(BODIES, CHUNKS, EXTENSION, TRAILERS, st.booleans(), PLACES)
def test_answers_come_one_after_the_other_however_they_are_cut_into_packets(
    body: bytes, chunks: list[bytes], extension: bytes, trailers: bytes, interim: bool, places: list[int]
) -> None:
    data = b"HTTP/1.1 100 Continue\r\n\r\n" if interim else b""
    data += b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)
    data += b"HTTP/1.1 201 Yes\r\nTransfer-Encoding: chunked\r\n\r\n" + as_chunks(chunks, extension, trailers)
    data += b"HTTP/1.0 202 No\r\n\r\n" + body
    with sent(*cut(data, places)) as wire:
        answers = [read(wire) for _ in range(3)]
        assert [head.status for head, _ in answers] == [200, 201, 202]
        assert [came for _, came in answers] == [body, b"".join(chunks), body]
        with pytest.raises(Ended):
            wire.head(30)


@FEW
@given(CHUNKS.filter(bool), st.integers(0, 10_000), PLACES)
def test_chunks_that_end_too_early_are_never_taken_for_a_whole_body(
    chunks: list[bytes], end: int, places: list[int]
) -> None:
    data = as_chunks(chunks, b"", b"")
    data = data[: end % len(data)]
    with sent(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", *cut(data, places)) as wire:
        with pytest.raises(Ended):
            read(wire)


@pytest.mark.parametrize(
    "data",
    [
        b"x\r\n", b"-1\r\n", b"5;a\rb\r\nhello\r\n", b"5\r\nhello!\r\n", b"5\r\nhell\r\n0\r\n\r\n", b"\r\n",
        b"1234567890123456\r\n", b"0\r\n" + b"A: b\r\n" * 10_000, b"5" * 10_000, b"1;" + b"x" * 10_000,
    ],
    ids=lambda data: repr(data[:20]),
)  # fmt: skip
def test_chunks_that_are_none_are_garbled(data: bytes) -> None:
    with sent(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", data) as wire, pytest.raises(Garbled):
        read(wire)


def test_a_body_that_is_cut_is_shorter() -> None:
    with sent(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello") as wire:
        assert read(wire)[1] == b"hello"


def test_a_head_that_is_cut_is_garbled() -> None:
    with sent(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n") as wire, pytest.raises(Garbled, match="in the middle"):
        wire.head(30)


@pytest.mark.parametrize("line", [b"A: b\r\n", b"A: %s\r\n" % (b"b" * 2 * LONGEST)], ids=["many lines", "a long one"])
def test_a_head_without_an_end_is_garbled(line: bytes) -> None:
    try:
        with sent(b"HTTP/1.1 200 OK\r\n" + line * (2 * LONGEST // len(line) + 1)) as wire:
            with pytest.raises(Garbled, match=f"more than {LONGEST} bytes"):
                wire.head(30)
    except BrokenPipeError:  # nobody has read the rest
        pass


def test_a_head_that_trickles_is_given_up() -> None:
    with sent(b"HTTP/1.1 200 OK\r\n", b"A: b\r\n", ends=False) as wire, pytest.raises(TimeoutError):
        wire._socket.settimeout(0.01)
        wire.head(30)


@pytest.mark.parametrize("status", [101, 100])
def test_answers_before_the_answer_have_an_end(status: int) -> None:
    with sent(b"HTTP/1.1 %d X\r\n\r\n" % status * 100) as wire, pytest.raises(Garbled):
        wire.head(30)


@pytest.mark.parametrize(
    "text", [b" \t" * (1 << 21), b" \r\n " * (1 << 20), b" " * (1 << 22) + b"\r\n "], ids=["blanks", "lines", "both"]
)
def test_a_head_is_read_once_from_its_start_to_its_end(text: bytes) -> None:
    """A step for each pair of its letters would take days."""
    with pytest.raises(Garbled):
        head_of(b"HTTP/1.1 200 OK\r\nA:" + text + b"\0\r\n\r\n")
