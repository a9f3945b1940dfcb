"""A manager gets tasks when the client is sure to hear of it, whatever happens to the interchange then."""

import os
import socket
from typing import Any

from parsl_pool.interchange import stream, wire
from parsl_pool.interchange.columns import Tasks
from parsl_pool.interchange.interchange import Interchange
from parsl_pool.interchange.loop import Loop
from tests.fuzz.zmq_peers import registration
from tests.interchange.frames import tasks

MEGABYTES = 4 << 20


class Door:
    """Where managers come in: what they are sent."""

    def __init__(self) -> None:
        self.sent: list[tuple[int, ...]] = []

    def claims(self, name: str) -> bool:
        return True

    def send(self, name: str, record: Any) -> None:
        """Functions: not what this is about."""

    def send_tasks(self, name: str, tasks: Tasks) -> None:
        self.sent.append(tasks.task_ids())

    def client_has_all(self) -> None:
        """As above."""


def test_a_manager_gets_no_tasks_before_the_client_is_sure_to_hear_of_it() -> None:
    """The client is busy, and its socket full: what we have for it would go with us."""
    client, ours = socket.socketpair()
    loop = Loop()
    with client:
        interchange = Interchange(loop, stream.Stream(ours))
        interchange._door = door = Door()
        interchange.handle(wire.KIND[wire.Function], wire.encode(wire.Function(1, b"function")), [])
        interchange.handle(wire.TASKS, tasks([1, 2]).encode(), [])
        interchange._client.put(wire.frame(wire.Notice(10, "x" * MEGABYTES)))
        interchange.from_manager("b", registration("b"))
        interchange.from_manager("b", wire.Window(1, 0, 1))
        interchange.from_manager("b", wire.Window(2, 0, 1))
        assert door.sent == []
        seen = bytearray()
        while not door.sent:
            seen += client.recv(1 << 20)
            interchange._flush_client()
        seen += client.recv(1 << 20)  # what had got as far as here
        assert door.sent == [(1, 2)]
        assert seen.endswith(wire.frame(wire.ManagerUp("b", socket.gethostname(), os.getpid(), 1, "none", 0, [])))
    ours.close()
