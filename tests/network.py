"""A network that tests can cut, and that counts what it carries: between a manager apart and its interchange."""

import select
import socket
import threading

from tests.eventually import eventually


class Network:
    """Passes on what managers and interchange say to each other, until it is cut."""

    def __init__(self) -> None:
        self._door = socket.create_server(("127.0.0.1", 0))
        self._goal = ("", 0)
        self._ways: dict[socket.socket, socket.socket] = {}  # each end, and the other
        self._commands, self._commander = socket.socketpair()
        self.cuts = 0
        self.carried = 0  # bytes, in both directions
        self._thread = threading.Thread(target=self._run, name="network")
        self._thread.start()

    def address_instead_of(self, address: str) -> str:
        host, _, port = address.removeprefix("tcp://").rpartition(":")
        self._goal = (host, int(port))
        return f"tcp://127.0.0.1:{self._door.getsockname()[1]}"

    def cut(self) -> None:
        """Drop all connections, with whatever is under way. New ones can be made at once."""
        before = self.cuts
        self._commander.send(b"c")
        eventually(lambda: self.cuts > before)

    def close(self) -> None:
        self._commander.send(b"e")
        self._thread.join()

    def _run(self) -> None:
        while True:
            ready, _, _ = select.select([self._commands, self._door, *self._ways], [], [])
            if self._commands in ready:
                command = self._commands.recv(1)
                for end in list(self._ways):
                    self._drop(end)
                self.cuts += 1
                if command == b"e":
                    break
            elif self._door in ready:
                self._connect()
            else:
                for end in ready:
                    self._pass_on(end)
        for end in (self._commands, self._commander, self._door):
            end.close()

    def _connect(self) -> None:
        here, _ = self._door.accept()
        try:
            there = socket.create_connection(self._goal)
        except OSError:
            here.close()
            return
        self._ways[here], self._ways[there] = there, here

    def _pass_on(self, end: socket.socket) -> None:
        if end not in self._ways:
            return  # dropped with its other end
        try:
            data = end.recv(4096)
            self._ways[end].sendall(data)
            self.carried += len(data)
        except OSError:
            data = b""
        if not data:
            self._drop(end)

    def _drop(self, end: socket.socket) -> None:
        other = self._ways.pop(end, None)
        if other is not None:
            del self._ways[other]
            end.close()
            other.close()
