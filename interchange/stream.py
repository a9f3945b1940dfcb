"""Frames over unix stream sockets, with descriptors beside them, without ever blocking.

A `Stream` belongs to one thread or loop. Whoever owns it asks `wants_write`, calls `receive` when the socket is
readable and `flush` when it is writable; a peer that does not read can never make us wait, only grow our buffer.
"""

from __future__ import annotations

import array
import os
import socket
import threading
from collections import deque
from typing import Any

from parsl_pool import portable
from parsl_pool.errors import BadMessage
from parsl_pool.interchange import wire
from parsl_pool.interchange.standard_streams import off_standard_streams

_CHUNK = 1 << 18
ANCILLARY = socket.CMSG_SPACE(4 * 64)
_MOST_DESCRIPTORS = 1024
_SMALL_BUFFER = 8192  # what macOS gives a unix socket; nothing may depend on more
_CUT = int(socket.MSG_CTRUNC)  # as an enum's member it costs three calls of Python at each `&`

# recvmsg() would allocate its buffer anew for each call, from the kernel: 12 us. One buffer a thread does; it is
# only in use between a call and the copy out of it.
_buffers = threading.local()


def receive_into_buffer(sock: socket.socket) -> tuple[memoryview, list[int]]:
    """What has come, at most 256 kB, and the descriptors beside it. The view is good until the next call.

    Raises:
        BlockingIOError: nothing has come, and the socket says not to wait.
        OSError: the connection is broken.
    """
    try:
        buffer = _buffers.view
    except AttributeError:
        buffer = _buffers.view = memoryview(bytearray(_CHUNK))
    size, ancillary, message_flags, _ = sock.recvmsg_into([buffer], ANCILLARY)
    descriptors = read_descriptors(ancillary) if ancillary else []
    if message_flags & _CUT:
        for fd in descriptors:
            os.close(fd)
        raise DescriptorsLost
    return buffer[:size], descriptors


class DescriptorsLost(OSError):
    """Some that were sent to us found no room: this process has too many open files."""


class PeerGone(Exception):
    """The other side closed the connection, or is no more."""


def read_descriptors(ancillary: list[tuple[int, int, bytes]]) -> list[int]:
    """The descriptors in what recvmsg() returned beside the data. No program that is started here inherits them."""
    numbers = array.array("i")
    for level, kind, data in ancillary:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            numbers.frombytes(data[: len(data) - len(data) % numbers.itemsize])
    for fd in numbers:
        os.set_inheritable(fd, False)
    return list(numbers)


class Stream:
    """One end of a connection that carries frames."""

    def __init__(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        self.sock = sock
        self._out: deque[bytes | memoryview] = deque()
        self._fds_out: deque[tuple[int, list[int]]] = deque()  # frames with descriptors: position, which
        self._queued = 0  # frames ever put into _out
        self._sent = 0  # frames that have left it
        self._data = bytearray()
        self._fds_in: deque[int] = deque()
        self._ended = False
        self.has_lost_descriptors = False  # which is why it has ended
        self.bytes_waiting = 0

    def fileno(self) -> int:
        """For selectors."""
        return self.sock.fileno()

    # -- out

    @property
    def wants_write(self) -> bool:
        """True while something waits to be sent."""
        return bool(self._out)

    def put(self, frame: bytes, descriptors: list[int] | None = None) -> None:
        """Queue a frame; `flush` sends it. The descriptors are closed once they are sent."""
        if descriptors:
            self._fds_out.append((self._queued, descriptors))
        self._out.append(frame)
        self._queued += 1
        self.bytes_waiting += len(frame)

    def flush(self) -> bool:
        """Send what the socket takes now. True if nothing is left.

        Raises:
            PeerGone: nobody is there to read.
        """
        out = self._out
        try:
            if len(out) == 1 and not self._fds_out:  # the usual case, and the shortest way
                size, sent = len(out[0]), self.sock.send(out[0])
                self.bytes_waiting -= sent
                if sent == size:
                    out.clear()
                    self._sent += 1
                    return True
                out[0] = memoryview(out[0])[sent:]
            while out:
                if self._fds_out and self._fds_out[0][0] == self._sent:
                    sent = self._send_with_descriptors()
                else:
                    # Up to 16 frames a call, and never beyond the next one that has descriptors.
                    limit = min(16, self._fds_out[0][0] - self._sent) if self._fds_out else 16
                    sent = self.sock.sendmsg([out[i] for i in range(min(limit, len(out)))])
                self.bytes_waiting -= sent
                while sent:
                    size = len(out[0])
                    if sent < size:
                        out[0] = memoryview(out[0])[sent:]
                        break
                    sent -= size
                    out.popleft()
                    self._sent += 1
        except BlockingIOError:
            return False
        except OSError:
            raise PeerGone from None
        return True

    def _send_with_descriptors(self) -> int:
        descriptors = self._fds_out[0][1]
        sent = socket.send_fds(self.sock, [self._out[0]], descriptors)
        self._fds_out.popleft()
        for fd in descriptors:
            os.close(fd)
        return sent

    # -- in

    def receive(self) -> list[tuple[int, bytes, list[int]]]:
        """The messages that are complete now: kind, body, descriptors.

        Raises:
            PeerGone: the connection has ended, and everything that came before its end has been returned.
            BadMessage: what comes is not our format; the connection is of no more use.
        """
        try:
            while not self._ended:
                data, descriptors = receive_into_buffer(self.sock)
                if descriptors:
                    self._fds_in.extend(descriptors)
                end = len(data)
                if not end:
                    self._ended = True
                    break
                if 6 <= end < _CHUNK // 2 and not self._data and not self._fds_in:
                    size, kind, count = wire.HEAD.unpack_from(data)
                    if size + 4 == end and not count:  # the usual case: one frame, and nothing else
                        return [(kind, bytes(data[6:]), [])]
                self._data += data
                if end < _CHUNK // 2:
                    break
        except BlockingIOError:
            pass
        except OSError as problem:
            self._ended = True  # also if more could be read: what was lost makes no sense of it
            self.has_lost_descriptors = isinstance(problem, DescriptorsLost)
        messages = self._split()
        if self._ended and not messages:
            raise PeerGone
        return messages

    @property
    def bytes_of_half_a_frame(self) -> int:
        """How much has been received of a frame whose rest has not come."""
        return len(self._data)

    def is_between_frames(self) -> bool:
        """True if nothing of a frame has been received without the rest."""
        return not self._data and not self._fds_in

    def feed(self, data: bytes, ancillary: list[tuple[int, int, bytes]], message_flags: int) -> None:
        """Take what somebody else has received from the socket; `receive` returns it."""
        self._fds_in.extend(read_descriptors(ancillary))
        self._data += data
        if message_flags & _CUT:
            self._ended = self.has_lost_descriptors = True

    def _split(self) -> list[tuple[int, bytes, list[int]]]:
        data = self._data
        messages: list[tuple[int, bytes, list[int]]] = []
        position, end = 0, len(data)
        while end - position >= 6:
            size, kind, count = wire.HEAD.unpack_from(data, position)
            if not 2 <= size <= wire.MAX_FRAME:
                raise self._bad(messages, f"a frame of {size} bytes")
            if count > len(self._fds_in):  # they travel with a frame's first byte, so also of half a frame
                raise self._bad(messages, f"a frame with {count} descriptors, {len(self._fds_in)} came")
            after = position + 4 + size
            if after > end:
                break
            body = bytes(memoryview(data)[position + 6 : after])
            messages.append((kind, body, [self._fds_in.popleft() for _ in range(count)]))
            position = after
        if len(self._fds_in) > _MOST_DESCRIPTORS:  # one frame has 255 at most: they would use up all of ours
            raise self._bad(messages, f"{len(self._fds_in)} descriptors that belong to no frame")
        if position:
            del data[:position]
        return messages

    def _bad(self, messages: list[tuple[int, bytes, list[int]]], reason: str) -> BadMessage:
        """The error for rubbish; nobody will get the messages before it."""
        for _, _, descriptors in messages:
            for fd in descriptors:
                os.close(fd)
        return BadMessage(reason)

    def close(self) -> None:
        """Close the socket and every descriptor that is still on its way."""
        self.sock.close()
        for _, descriptors in self._fds_out:
            for fd in descriptors:
                os.close(fd)
        for fd in self._fds_in:
            os.close(fd)
        self._fds_out.clear()
        self._fds_in.clear()
        self._out.clear()


def pair() -> tuple[socket.socket, socket.socket]:
    """Two connected ends, private to whoever holds their descriptors."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    if min(ours.fileno(), theirs.fileno()) <= 2:
        ours, theirs = (socket.socket(fileno=off_standard_streams(end.detach())) for end in (ours, theirs))
    if portable.FORCED:
        for end in (ours, theirs):
            end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SMALL_BUFFER)
    return ours, theirs


def from_descriptor(fd: int) -> Any:
    """A socket object for an inherited descriptor, which children of ours do not inherit in turn.

    If they did, a process that a task leaves behind would hide our end from the other side.
    """
    os.set_inheritable(fd, False)
    return socket.socket(socket.AF_UNIX, socket.SOCK_STREAM, 0, fileno=fd)
