"""A connection to a web server: bytes go out; heads, and bodies piece by piece, come in."""

from __future__ import annotations

import re
import select
import socket
import time
from collections.abc import Iterator

from parsl_pool.staging.transfers.local_files import PIECE
from parsl_pool.staging.transfers.web_heads import END, LONGEST, Garbled, Head, head_of

_MOST_INTERIM = 20  # answers before the answer, which say that it will come
_LONGEST_LINE = 4096
_CHUNK = re.compile(rb"([0-9A-Fa-f]{1,15})[ \t]*(?:;[^\r\n]*)?\r\n")
_NEW_LINE = re.compile(rb"\n")
_TRAILERS = 1 << 14


class Ended(ConnectionError):
    """The server has ended the connection; an answer, or the rest of one, does not come."""

    def __init__(self) -> None:
        super().__init__("it has ended the connection")


class Wire:
    """One connection. It is used by one thread at a time.

    What comes is read into memory that is used again for the next piece: who gets one has to be done with it before it
    asks for another.
    """

    def __init__(self, connection: socket.socket) -> None:
        self._socket = connection
        self._buffer = memoryview(bytearray(PIECE))
        self._first = self._last = 0  # between them is what has come and nobody has had yet

    def close(self) -> None:
        """End the connection."""
        self._socket.close()

    def fileno(self) -> int:
        """The descriptor."""
        return self._socket.fileno()

    def send(self, data: bytes | memoryview) -> None:
        """Send all of it. Raises OSError."""
        self._socket.sendall(data)

    @property
    def is_quiet(self) -> bool:
        """True if nothing has come that nobody has asked for: not even the connection's end."""
        if self._first != self._last:
            return False
        poll = select.poll()
        poll.register(self._socket, select.POLLIN)
        return not poll.poll(0)

    def taken(self) -> socket.socket:
        """What is below, for something else to be spoken on it. Raises Garbled: there is a word on it already."""
        if self._first != self._last:
            raise Garbled("it says more than it was asked")
        return self._socket

    # -- heads

    def head(self, limit_s: float) -> Head:
        """The head of the next answer.

        Args:
            limit_s: seconds that it may take from its first byte to its last one.

        Raises:
            Ended, OSError: it does not come.
            Garbled: it is none.
        """
        for _ in range(_MOST_INTERIM):
            head = head_of(self._head_bytes(limit_s))
            if head.status >= 200:
                return head
            if head.status == 101:
                raise Garbled("it goes over to another protocol, and nobody has asked it to")
        raise Garbled("it says again and again that an answer will come")

    def _head_bytes(self, limit_s: float) -> bytes:
        self._begin_at_start()
        began, looked = time.monotonic(), 0
        while True:
            found = END.search(self._buffer, looked, self._last)
            if found is not None and found.end() <= LONGEST:
                self._first = found.end()
                return bytes(self._buffer[: self._first])
            looked = max(0, self._last - 2)
            if self._last >= LONGEST:
                raise Garbled(f"its head has more than {LONGEST} bytes")
            if not self._last:
                began = time.monotonic()
            elif time.monotonic() - began > limit_s:
                raise TimeoutError
            if not self._more():
                raise Garbled("it ends in the middle of its head") if self._last else Ended

    def _begin_at_start(self) -> None:
        kept = self._last - self._first
        if kept and self._first:
            self._buffer[:kept] = bytes(self._buffer[self._first : self._last])
        self._first, self._last = 0, kept

    def _more(self) -> int:
        """How many bytes have come; 0: the connection has ended."""
        came = self._socket.recv_into(self._buffer[self._last :])
        self._last += came
        return came

    # -- bodies

    def body(self, head: Head) -> Iterator[memoryview]:
        """The body of that answer, of which the head has been read; it is shorter where the connection was cut.

        Raises:
            OSError: it does not come.
            Garbled: it is none.
        """
        if head.is_chunked:
            return self._chunks()
        return self._sized(head.length) if head.length is not None else self._rest()

    def _sized(self, length: int) -> Iterator[memoryview]:
        left = length
        while left:
            piece = self._some(left)
            if not piece:
                return
            left -= len(piece)
            yield piece

    def _rest(self) -> Iterator[memoryview]:
        while piece := self._some(PIECE):
            yield piece

    def _some(self, most: int) -> memoryview:
        """A piece that is not longer; empty: the connection has ended."""
        if self._first == self._last:
            self._first = self._last = 0
            return self._buffer[: self._socket.recv_into(self._buffer[:most])]
        first = self._first
        self._first = min(self._last, first + most)
        return self._buffer[first : self._first]

    def _chunks(self) -> Iterator[memoryview]:
        while True:
            line = self._line()
            found = _CHUNK.fullmatch(line)
            if found is None:
                raise Garbled(f"a chunk does not say how long it is: {line[:40]!r}")
            left = int(found[1], 16)
            if not left:
                break
            while left:
                piece = self._some(left)
                if not piece:
                    raise Ended
                left -= len(piece)
                yield piece
            if self._line() != b"\r\n":
                raise Garbled("a chunk is longer than it says")
        left = _TRAILERS
        while (line := self._line()) != b"\r\n":
            left -= len(line)
            if left < 0:
                raise Garbled("what follows its last chunk has no end")

    def _line(self) -> bytes:
        looked = 0
        while True:
            found = _NEW_LINE.search(self._buffer, self._first + looked, self._last)
            if found is not None:
                first, self._first = self._first, found.end()
                return bytes(self._buffer[first : self._first])
            looked = self._last - self._first
            if looked > _LONGEST_LINE:
                raise Garbled("a line between its chunks has no end")
            self._begin_at_start()
            if not self._more():
                raise Ended
