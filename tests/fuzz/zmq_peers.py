"""Peers that connect to a pool's port for managers, with keys or without."""

import os
import socket
import sys
from types import TracebackType
from typing import Any

import psutil
import zmq
from zmq.utils.monitor import recv_monitor_message

from parsl_pool import ParslPoolExecutor
from parsl_pool._version import __version__
from parsl_pool.interchange import curve, from_manager, pieces, place, wire
from tests.eventually import eventually
from tests.fuzz.rubbish import Frame
from tests.network import connection_to
from tests.recovery.arrangement import Arrangement

PATIENCE_MS = 20_000
_ENDED = zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL | zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL
_ENDED |= zmq.EVENT_HANDSHAKE_FAILED_AUTH | zmq.EVENT_DISCONNECTED


class Door:
    """The port of a running pool whose manager is apart."""

    def __init__(self, pool: ParslPoolExecutor) -> None:
        self.pool = pool
        self.link = pool._backend.link
        parts = Arrangement(inside=False).parts(pool)
        self.interchange = parts.interchange
        self.processes = {self.interchange, parts.manager, parts.fork_server}

    @property
    def ticket(self) -> curve.Ticket:
        """As managers get it."""
        return curve.read_ticket(self.link._apart._ticket)

    def connect(self, timeout: float) -> socket.socket:
        """As somebody does who does not even know zmq."""
        return connection_to(self.ticket.address, timeout)

    @property
    def state(self) -> wire.State:
        state: wire.State | None = self.link.ask(30)
        assert state is not None
        return state

    @property
    def dropped(self) -> int:
        return self.state.dropped_frames

    @property
    def managers(self) -> set[str]:
        """Names of those who have registered."""
        return {line.split("\t")[0] for line in self.state.managers}

    def is_unharmed(self) -> bool:
        """True if nobody has died since the beginning."""
        return all(process.is_running() and process.status() != psutil.STATUS_ZOMBIE for process in self.processes)

    def check_it_works(self) -> None:
        assert sorted(self.pool.map(abs, range(-20, 0), timeout=60)) == list(range(1, 21))


class Peer:
    """A zmq DEALER. With a ticket it has the keys of that, and numbers its messages as an uplink does."""

    def __init__(self, address: str, ticket: curve.Ticket | None, identity: str, **options: Any) -> None:
        self._context: zmq.Context[Any] = zmq.Context()
        self.socket: Any = self._context.socket(zmq.DEALER)
        self.socket.identity = identity.encode()
        self.socket.linger = 0
        self.socket.reconnect_ivl = -1
        self.socket.rcvtimeo = self.socket.sndtimeo = PATIENCE_MS
        for name, value in options.items():
            setattr(self.socket, name, value)
        if ticket is not None:
            curve.secure_client(self.socket, ticket)
        self._monitor: Any = self.socket.get_monitor_socket(zmq.EVENT_HANDSHAKE_SUCCEEDED | _ENDED)
        self._monitor.rcvtimeo = PATIENCE_MS
        self.outgoing, self.incoming = pieces.Outgoing(), pieces.Incoming()
        self.socket.connect(address)

    def __enter__(self) -> "Peer":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.socket.disable_monitor()
        self._monitor.close(0)
        self.socket.close()
        self._context.term()

    def is_admitted(self) -> bool:
        """Waits until the handshake has ended, in one way or the other."""
        return bool(recv_monitor_message(self._monitor)["event"] == zmq.EVENT_HANDSHAKE_SUCCEEDED)

    def await_end(self) -> None:
        """Waits until the other side has ended the connection."""
        while self.is_admitted():
            pass

    def send(self, data: bytes) -> None:
        self.outgoing.send(self.socket, data)

    def tell(self, record: Any) -> None:
        self.send(Frame(wire.KIND[type(record)], wire.encode(record)).on_zmq())

    def receive(self) -> Any:
        """The next message, decoded."""
        while (data := self.incoming.message(self.socket.recv_multipart(), accept_unnumbered=True)) is None:
            pass
        return from_manager.decode(data)

    def await_answer(self, to: Any, kind: type[Any]) -> Any:
        """Say this, and wait for a message of that kind: whatever was sent before has been dealt with then."""
        self.tell(to)
        while not isinstance(answer := self.receive(), kind):
            pass
        return answer


def registration(name: str, **changes: Any) -> wire.Register:
    """As a good manager's that has one worker, and says so."""
    python = f"{sys.version_info.major}.{sys.version_info.minor}"
    good = wire.Register(
        wire.PROTOCOL, name, socket.gethostname(), os.getpid(), 1, python, __version__, "none", 0, [],
        [1, 0, 0, 0, 0, 0], [], place.here(),
    )
    return wire.Register(**{**dict(zip(wire.Register.__annotations__, good)), **changes})


def false_manager(door: Door, name: str) -> Peer:
    """A peer that has the keys of the run, and has registered as a manager. It asks for no tasks."""
    peer = Peer(door.ticket.address, door.ticket, f"{name}/1")
    assert peer.is_admitted()
    peer.tell(registration(name))
    eventually(lambda: name in door.managers)
    return peer
