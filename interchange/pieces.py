"""A message on a zmq link: one part or several, each of them small and with a number.

    message  ->  [u64 1 | piece] [u64 2 | piece] ...  the next message goes on counting; a new connection begins anew

Small, because libzmq takes as much memory as the sender of a part says that it has, before it knows who that is.
Numbered, because CURVE shows that a part is the peer's, whole, and later than those before it, but not that none
is missing in between: whoever sits on the line could leave some out.
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
_UNNUMBERED = _NUMBER.pack(0)


class Missing(BadMessage):
    """Something is missing before this part. What else comes by the connection is of no use."""


class Outgoing:
    """Numbers what is sent by one connection."""

    __slots__ = ("_number",)

    def __init__(self) -> None:
        self._number = 0

    def send(self, socket: Any, data: bytes, flags: int = 0) -> None:
        """Send a message. zmq passes on all of its parts, or none."""
        if len(data) <= PIECE:
            self._number += 1
            socket.send(_NUMBER.pack(self._number) + data, flags)
            return
        view = memoryview(data)
        for start in range(0, len(data), PIECE):
            self._number += 1
            more = zmq.SNDMORE if start + PIECE < len(data) else 0
            socket.send(_NUMBER.pack(self._number) + view[start : start + PIECE], flags | more)


def unnumbered(data: bytes) -> bytes:
    """The part of a short message to somebody with whom there is no connection that counts."""
    return _UNNUMBERED + data


class Incoming:
    """Checks what comes by one connection."""

    __slots__ = ("_number",)

    def __init__(self) -> None:
        self._number = 0

    def message(self, parts: Sequence[bytes], accept_unnumbered: bool = False) -> bytes:
        """The message that these parts are.

        Raises:
            Missing: parts have been left out.
            BadMessage: it is too short to be any.
        """
        if accept_unnumbered and len(parts) == 1 and parts[0][:8] == _UNNUMBERED:
            return _long_enough(parts[0][8:])
        for part in parts:
            self._number += 1
            if len(part) < _NUMBER.size:
                raise Missing(f"a part of {len(part)} bytes")
            (number,) = _NUMBER.unpack_from(part)
            if number != self._number:
                raise Missing(f"part {number} in the place of part {self._number}")
        if len(parts) == 1:
            return _long_enough(parts[0][8:])
        return _long_enough(b"".join([memoryview(part)[8:] for part in parts]))


def _long_enough(data: bytes) -> bytes:
    if len(data) < 2:
        raise BadMessage(f"a message of {len(data)} bytes")
    return data
