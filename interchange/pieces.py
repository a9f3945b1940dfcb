"""A message on a zmq link: one piece or several, each of them small, with a number, and a zmq message of its own.

    message  ->  u64 1 + MORE | piece,  u64 2 | piece;   the next message goes on counting, a new connection begins anew

Small, because libzmq takes as much memory as the sender of a part says that it has, before it knows who that is.
Numbered, because CURVE shows that a part is the peer's, whole, and later than those before it, but not that none
is missing in between: whoever sits on the line could leave some out. On their own, because zmq gives the parts of one
message only when it has all of them: to whoever waits, a peer that sends for long would seem to be silent.
"""

from __future__ import annotations

from collections.abc import Sequence
from struct import Struct
from typing import Any

import zmq

from parsl_pool.errors import BadMessage

PIECE = 1 << 16
MAX_PART = PIECE + 256
"""For libzmq's `maxmsgsize`: a piece, its number, and what CURVE adds."""

_NUMBER = Struct("<Q")
_MORE = 1 << 63
_UNNUMBERED = _NUMBER.pack(0)


class Missing(BadMessage):
    """Something is missing before this part. What else comes by the connection is of no use."""


class Outgoing:
    """Numbers what is sent by one connection."""

    __slots__ = ("_number",)

    def __init__(self) -> None:
        self._number = 0

    def send(self, socket: Any, data: bytes, flags: int = 0, to: bytes | None = None) -> None:
        """Send a message. to: the connection's identity, if the socket has several."""
        if len(data) <= PIECE:
            self._number += 1
            if to is not None:
                socket.send(to, zmq.SNDMORE)
            socket.send(_NUMBER.pack(self._number) + data, flags)
            return
        view = memoryview(data)
        for start in range(0, len(data), PIECE):
            self._number += 1
            more = _MORE if start + PIECE < len(data) else 0
            if to is not None:
                socket.send(to, zmq.SNDMORE)
            socket.send(_NUMBER.pack(self._number | more) + view[start : start + PIECE], flags)


def unnumbered(data: bytes) -> bytes:
    """The part of a short message to somebody with whom there is no connection that counts."""
    return _UNNUMBERED + data


class Incoming:
    """Checks what comes by one connection, and puts it together."""

    __slots__ = ("_begun", "_number")

    def __init__(self) -> None:
        self._number = 0
        self._begun: list[memoryview] = []  # pieces of a message whose last one has not come

    @property
    def is_amid(self) -> bool:
        """True if the first pieces of a message have come, and the last one has not."""
        return bool(self._begun)

    def message(self, parts: Sequence[bytes], accept_unnumbered: bool = False) -> bytes | None:
        """The message that ends with this one of zmq's; None if there is more to come of it.

        Raises:
            Missing: pieces have been left out.
            BadMessage: it is too short to be any.
        """
        if len(parts) != 1:
            raise Missing(f"a message of {len(parts)} parts")
        (part,) = parts
        if accept_unnumbered and part[:8] == _UNNUMBERED:
            return _long_enough(part[8:])
        if len(part) < _NUMBER.size:
            raise Missing(f"a part of {len(part)} bytes")
        (number,) = _NUMBER.unpack_from(part)
        self._number += 1
        if number & ~_MORE != self._number:
            raise Missing(f"part {number & ~_MORE} in the place of part {self._number}")
        if number & _MORE:
            self._begun.append(memoryview(part)[8:])
            return None
        if not self._begun:
            return _long_enough(part[8:])
        begun, self._begun = self._begun, []
        return _long_enough(b"".join([*begun, memoryview(part)[8:]]))


def _long_enough(data: bytes) -> bytes:
    if len(data) < 2:
        raise BadMessage(f"a message of {len(data)} bytes")
    return data
