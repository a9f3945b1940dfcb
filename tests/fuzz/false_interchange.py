"""An interchange that is none, and a manager, the real program, that has been sent to it."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any

import psutil
import zmq

from parsl_pool.interchange import curve, from_manager, pieces, place, wire
from tests.eventually import eventually
from tests.fuzz.rubbish import Frame

PROGRAM = (
    "from parsl_pool.interchange import manager_program as program; "
    "program._PATIENCE_S, program._BEAT_S = {patience}, 0.1; program.main()"
)


class Manager:
    """The program, on its own."""

    def __init__(self, process: subprocess.Popen[bytes], stderr: Path) -> None:
        self.process, self._stderr = process, stderr

    @property
    def said(self) -> str:
        return self._stderr.read_text()

    def descendants(self) -> list[psutil.Process]:
        return psutil.Process(self.process.pid).children(recursive=True)

    def await_end(self, within: float = 60) -> int:
        return self.process.wait(within)


@contextmanager
def manager(ticket: curve.Ticket | str, directory: Path, patience: float = 60.0) -> Iterator[Manager]:
    """One that has this ticket, or text; it gives up if nobody makes use of it for so many seconds."""
    path, stderr = directory / "ticket", directory / "stderr"
    if isinstance(ticket, str):
        path.write_text(ticket)
    else:
        curve.write_ticket(str(path), ticket._replace(patience_s=patience))
    with stderr.open("wb") as file:
        process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM.format(patience=patience), str(path), "0"], stdout=file, stderr=file
        )
    try:
        yield Manager(process, stderr)
    finally:
        process.kill()
        process.wait()


def settings(**changes: Any) -> wire.Settings:
    """Good ones, for a worker that nobody shares memory with."""
    good: dict[str, Any] = dict(
        workers=1, start_method="fork", initializer=b"", max_tasks_per_child=0, preload=[], sys_path=list(sys.path),
        eager=0, descriptors=[], authkey=b"", log_dir="", worker_log_dir="", worker_debug=0,
        client_place=place.here(), client_pid=os.getpid(),
        claims_fd=-1, heartbeat_ms=60_000, threshold_ms=600_000, manager="", block="",
        label="label", run_id="run", drain_ms=0, lasts_ms=0, managers_most=0, mpi_launcher="", cores_per_worker=0,
        memory_per_worker=0, accelerators=[], accelerator_count=0, affinity="none", prefetch=-1,
    )  # fmt: skip
    return wire.Settings(**{**good, **changes})


class FalseInterchange:
    """A ROUTER with good keys. It says what it is told to, and listens."""

    def __init__(self) -> None:
        self.keys = curve.make_keys()
        self._context: zmq.Context[Any] = zmq.Context()
        self._gatekeeper = curve.Gatekeeper(self._context, self.keys.manager_public)
        self.socket: Any = self._context.socket(zmq.ROUTER)
        self.socket.linger = 0
        curve.secure_server(self.socket, self.keys.server_secret, self.keys.server_public)
        self.port = self.socket.bind_to_random_port("tcp://127.0.0.1")
        self.identity = b""  # of the manager's last connection
        self._outgoing, self._incoming = pieces.Outgoing(), pieces.Incoming()
        self.names: set[str] = set()

    @property
    def ticket(self) -> curve.Ticket:
        keys = self.keys
        address = f"tcp://127.0.0.1:{self.port}"
        return curve.Ticket([address], keys.server_public, keys.manager_public, keys.manager_secret)

    def __enter__(self) -> "FalseInterchange":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.socket.close(0)
        self._gatekeeper.socket.close(0)
        self._context.term()

    def receive(self) -> Any:
        """The manager's next message, by its last connection."""
        while True:
            eventually(self.has_message, within=60)
            identity, *parts = self.socket.recv_multipart()
            if _number(identity) > _number(self.identity):
                self.identity = identity
                self._outgoing, self._incoming = pieces.Outgoing(), pieces.Incoming()
            if identity == self.identity:  # else by a connection that has ended
                data = self._incoming.message(parts)
                if data is not None:
                    return from_manager.decode(data)

    def has_message(self) -> bool:
        self._gatekeeper.serve()
        return bool(self.socket.getsockopt(zmq.EVENTS) & zmq.POLLIN)

    def await_message(self, kind: type[Any]) -> Any:
        while not isinstance(message := self.receive(), kind):
            pass
        return message

    def send(self, data: bytes) -> None:
        self._outgoing.send(self.socket, data, to=self.identity)

    def skip_parts(self, count: int) -> None:
        """As if they had been left out."""
        self._outgoing._number += count

    def send_parts(self, *parts: bytes) -> None:
        """As they are."""
        self.socket.send_multipart([self.identity, *parts])

    def tell(self, record: Any) -> None:
        self.send(Frame(wire.KIND[type(record)], wire.encode(record)).on_zmq())

    def begin(self, **changes: Any) -> wire.Register:
        """Have the manager register, with one worker or more."""
        self.await_message(wire.Register)
        self.tell(settings(**changes))
        while not (record := self.await_message(wire.Register)).workers:
            pass
        assert isinstance(record, wire.Register)
        return record


def _number(identity: bytes) -> int:
    """Which of a manager's connections it is."""
    return int(identity.rpartition(b"/")[2] or 0)
