"""A network that tests can cut or silence, and that counts what it carries: from a manager apart to its interchange."""

import select
import socket
import threading
import time
from collections.abc import Callable
from typing import Any

import psutil
import pytest

from parsl_pool.executors.high_throughput.apart import Apart
from tests.eventually import eventually


def connection_to(address: str, timeout: float | None = None) -> socket.socket:
    """To where an interchange listens: ipc://PATH or tcp://HOST:PORT. Raises OSError."""
    kind, _, place = address.partition("://")
    if kind == "tcp":
        host, _, port = place.rpartition(":")
        return socket.create_connection((host, int(port)), timeout)
    sock = socket.socket(socket.AF_UNIX)
    sock.settimeout(timeout)
    try:
        sock.connect(place)
    except BaseException:  # passed on; nobody else would close it
        sock.close()
        raise
    return sock


def has_connection(process: psutil.Process, end: socket.socket) -> bool:
    """True if the process has the other end of this connection; False if that is gone."""
    try:
        port = end.getpeername()[1]
        return any(each.laddr.port == port for each in process.net_connections("tcp"))
    except (OSError, psutil.NoSuchProcess):
        return False


class Door:
    """Listens in the interchange's place, from the next pool on whose managers are apart."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._door = socket.create_server(("127.0.0.1", 0))
        self._goal = ""
        ready: Callable[[Any, str], None] = Apart.interchange_ready

        def other_ready(apart: Any, address: str) -> None:
            self._goal = address
            ready(apart, f"tcp://127.0.0.1:{self._door.getsockname()[1]}")

        monkeypatch.setattr(Apart, "interchange_ready", other_ready)

    def _both_ends(self) -> tuple[socket.socket, socket.socket] | None:
        """One who has come, and a connection to where he wants; None if the interchange takes none."""
        here, _ = self._door.accept()
        try:
            return here, connection_to(self._goal)
        except OSError:
            here.close()
            return None


class Network(Door):
    """Passes on what managers and interchange say to each other, until it is cut."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        super().__init__(monkeypatch)
        self._ways: dict[socket.socket, socket.socket] = {}  # each end, and the other
        self._managers: set[socket.socket] = set()  # the ends that are managers'
        self._silent: set[socket.socket] = set()  # nothing is taken from these
        self._banned: psutil.Process | None = None  # whose connections carry nothing
        self._commands, self._commander = socket.socketpair()
        self._obeyed = 0
        self.carried = 0  # bytes, in both directions
        self.pause_s = 0.0  # after each 4 kB: a slow line
        self._thread = threading.Thread(target=self._run, name="network")
        self._thread.start()

    def cut(self) -> None:
        """Drop all connections, with whatever is under way. New ones can be made at once."""
        self._command(b"c")

    def silence(self, of: str, banned: psutil.Process | None = None) -> None:
        """From now on "manager", "interchange" or "both" say nothing, and nobody is told.

        New connections are well, but for those of the process that is banned.
        """
        self._banned = banned
        for name in ("manager", "interchange"):
            if of in (name, "both"):
                self._command(name[:1].encode())

    def go_on(self) -> None:
        """After a silence: what was said meanwhile arrives."""
        self._banned = None
        self._command(b"g")

    def _command(self, command: bytes) -> None:
        before = self._obeyed
        self._commander.send(command)
        eventually(lambda: self._obeyed > before)

    def close(self) -> None:
        """Raises AssertionError if nobody has used it: then a test shows nothing."""
        self._commander.send(b"e")
        self._thread.join()
        assert self.carried

    def _run(self) -> None:
        while True:
            ready, _, _ = select.select([self._commands, self._door, *(self._ways.keys() - self._silent)], [], [])
            if self._commands in ready:
                command = self._commands.recv(1)
                self._obey(command)
                self._obeyed += 1
                if command == b"e":
                    break
            elif self._door in ready:
                self._connect()
            else:
                for end in ready:
                    self._pass_on(end)
        for end in (self._commands, self._commander, self._door):
            end.close()

    def _obey(self, command: bytes) -> None:
        if command == b"m":
            self._silent |= self._managers
        elif command == b"i":
            self._silent |= self._ways.keys() - self._managers
        elif command == b"g":
            self._silent.clear()
        else:
            for end in list(self._ways):
                self._drop(end)

    def _connect(self) -> None:
        if (ends := self._both_ends()) is not None:
            here, there = ends
            self._ways[here], self._ways[there] = there, here
            self._managers.add(here)
            if self._banned is not None and has_connection(self._banned, here):
                self._silent |= {here, there}

    def _pass_on(self, end: socket.socket) -> None:
        if end not in self._ways:
            return  # dropped with its other end
        try:
            data = end.recv(4096)
            self._ways[end].sendall(data)
            self.carried += len(data)
            time.sleep(self.pause_s)
        except OSError:
            data = b""
        if not data:
            self._drop(end)

    def _drop(self, end: socket.socket) -> None:
        other = self._ways.pop(end, None)
        if other is not None:
            del self._ways[other]
            for each in (end, other):
                self._managers.discard(each)
                self._silent.discard(each)
                each.close()
