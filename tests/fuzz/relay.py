"""A line between managers and interchange on which somebody sits who has no keys."""

import select
import socket
import threading
from collections.abc import Callable

import pytest

from tests.network import Door

GREETING = 64
LONG, COMMAND = 2, 4


class CutHereError(Exception):
    """Raised by a spoiler: both ends are to lose this connection, after the bytes that are given."""


# What is done with one encrypted frame: the bytes to pass on instead. Its number is among all of its direction.
Spoiler = Callable[[int, bool, bytes], bytes]


class _Way:
    """One direction of one connection."""

    def __init__(self, goal: socket.socket, is_up: bool) -> None:
        self.goal, self.is_up = goal, is_up
        self.buffer = b""
        self.greeting = GREETING

    def frames(self, data: bytes) -> list[bytes]:
        """Whole frames, handshake or not; what is not whole yet waits."""
        self.buffer += data
        found = []
        if self.greeting:
            found.append(self.buffer[: self.greeting])
            self.buffer = self.buffer[self.greeting :]
            self.greeting -= len(found[0])
        while not self.greeting and len(self.buffer) >= 2:
            head = 9 if self.buffer[0] & LONG else 2
            end = head + int.from_bytes(self.buffer[1:head], "big")
            if len(self.buffer) < end:
                break
            found.append(self.buffer[:end])
            self.buffer = self.buffer[end:]
        return found


class Relay(Door):
    """Passes on what the spoiler makes of each frame."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, spoil: Spoiler) -> None:
        super().__init__(monkeypatch)
        self._spoil = spoil
        self._ways: dict[socket.socket, _Way] = {}
        self._end, self._ender = socket.socketpair()
        self.numbers = {True: 0, False: 0}  # frames so far, up and down
        self.connections = 0
        self._thread = threading.Thread(target=self._run, name="relay")
        self._thread.start()

    def close(self) -> None:
        self._ender.close()
        self._thread.join()

    def _run(self) -> None:
        while True:
            ready, _, _ = select.select([self._end, self._door, *self._ways], [], [])
            if self._end in ready:
                break
            if self._door in ready:
                self._connect()
            for end in ready:
                if end in self._ways:
                    self._pass_on(end)
        for end in (*self._ways, self._end, self._door):
            end.close()

    def _connect(self) -> None:
        if (ends := self._both_ends()) is not None:
            here, there = ends
            self.connections += 1
            self._ways[here], self._ways[there] = _Way(there, True), _Way(here, False)

    def _pass_on(self, end: socket.socket) -> None:
        way = self._ways[end]
        try:
            data = end.recv(1 << 16)
            if not data:
                raise CutHereError(b"")
            for frame in way.frames(data):
                way.goal.sendall(self._spoiled(way, frame))
        except CutHereError as cut:
            self._drop(end, cut.args[0])
        except OSError:
            self._drop(end, b"")

    def _spoiled(self, way: _Way, frame: bytes) -> bytes:
        if way.greeting or len(frame) == GREETING or frame[0] & COMMAND:
            return frame
        self.numbers[way.is_up] += 1
        return self._spoil(self.numbers[way.is_up], way.is_up, frame)

    def _drop(self, end: socket.socket, last: bytes) -> None:
        way = self._ways.pop(end)
        del self._ways[way.goal]
        try:
            way.goal.sendall(last)
        except OSError:
            pass  # the other side has ended it, too
        end.close()
        way.goal.close()
