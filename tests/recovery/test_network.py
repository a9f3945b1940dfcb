"""The network between manager and interchange fails for a moment, again and again: nobody notices."""

import random
import select
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from parsl_pool.executors.high_throughput.apart import Apart
from tests.eventually import eventually
from tests.recovery.arrangement import Arrangement
from tests.recovery.ledger import note, noted

pytestmark = [pytest.mark.kill, pytest.mark.timeout(120)]


class Network:
    """Passes on what managers and interchange say to each other, until it is cut."""

    def __init__(self) -> None:
        self._door = socket.create_server(("127.0.0.1", 0))
        self._goal = ("", 0)
        self._ways: dict[socket.socket, socket.socket] = {}  # each end, and the other
        self._commands, self._commander = socket.socketpair()
        self.cuts = 0
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


@pytest.fixture
def network(manager_inside: bool, monkeypatch: pytest.MonkeyPatch) -> Iterator[Network]:
    if manager_inside:
        pytest.skip("there is no network")
    network = Network()
    ready: Callable[[Any, str], None] = Apart.interchange_ready
    monkeypatch.setattr(
        Apart, "interchange_ready", lambda self, address: ready(self, network.address_instead_of(address))
    )
    yield network
    network.close()


def noted_triple(path: Path, task: int) -> int:
    note(path, task)
    if task % 10 == 0:
        time.sleep(0.005)
    return task * 3


def test_cut_connections_cost_nothing(
    network: Network, arrangement: Arrangement, tmp_path: Path, kill_rounds: int
) -> None:
    ledger = tmp_path / "ledger"
    with arrangement.pool(2, lost_retries=0) as pool:
        futures = [pool.submit(noted_triple, ledger, task) for task in range(1000 * kill_rounds)]
        manager = arrangement.parts(pool).manager
        for _ in range(5 * kill_rounds):
            before = len(noted(ledger))
            eventually(lambda: len(noted(ledger)) >= before + random.randrange(1, 300), within=20)  # noqa: B023
            network.cut()
        assert [future.result(60) for future in futures] == [3 * task for task in range(len(futures))]
        assert noted(ledger) == {task: 1 for task in range(len(futures))}
        assert arrangement.parts(pool).manager == manager


def test_large_results_survive_a_cut(network: Network, arrangement: Arrangement) -> None:
    with arrangement.pool(2, lost_retries=0) as pool:
        futures = [pool.submit(bytes, 1_000_000 + i) for i in range(60)]
        for part in (5, 20, 40):
            eventually(lambda: sum(future.done() for future in futures) >= part, within=30)  # noqa: B023
            network.cut()
        assert [len(future.result(60)) for future in futures] == [1_000_000 + i for i in range(60)]
