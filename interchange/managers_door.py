"""Where managers of other processes and hosts come in: a zmq ROUTER with CURVE, on a unix socket or a TCP port.

zmq tells nobody when a peer ends. So a manager on this host is watched by its process, the others by heartbeats.
Each connection of a manager has a name of its own, `manager/number`; uplink.py says why.
"""

from __future__ import annotations

import os
import resource
from collections.abc import Callable
from struct import Struct
from time import monotonic
from typing import Any

import zmq

from parsl_pool import portable
from parsl_pool.errors import BadMessage
from parsl_pool.interchange import columns, curve, lent, pieces, place, wire
from parsl_pool.interchange.broker import Load
from parsl_pool.interchange.end_watch import EndWatch
from parsl_pool.interchange.from_manager import Message, decode, with_memory
from parsl_pool.interchange.inline import inline_tasks
from parsl_pool.interchange.loop import Loop
from parsl_pool.interchange.object_records import Object
from parsl_pool.interchange.spare_memory import SpareMemory
from parsl_pool.interchange.standing import Standing
from parsl_pool.interchange.uplink import is_kept
from parsl_pool.interchange.versions import mismatch

# Never ask for HANDSHAKE_FAILED_PROTOCOL here: a libzmq that tells of it forgets to end the connection (4.3.5).
_ACCEPTED, _PROVEN, _ENDED = int(zmq.Event.ACCEPTED), int(zmq.Event.HANDSHAKE_SUCCEEDED), int(zmq.Event.DISCONNECTED)
_EVENT = Struct("<HI")

_HANDSHAKE_MS = 10_000  # whoever has not proved itself by then has to go
_KEEPALIVE_S = 60  # else a connection whose other end is gone without a word would keep its descriptor for ever
_UNACKNOWLEDGED_MS = 300_000
_ACKNOWLEDGE_S = 0.05
_OVER_S = 2.0  # after the end of a job: what its managers had sent may still be on its way
_LAST_WORDS_S = 2.0  # between a manager's end and what it said of that
_ENDED_TEXT = "its process has ended"
_ACKNOWLEDGE_BYTES = 1 << 20
_IPC = "ipc://"


class _Connection:
    """One of a manager's connections, from its first Register on."""

    __slots__ = ("identity", "incoming", "is_damaged", "number", "outgoing")

    def __init__(self, identity: bytes, number: int) -> None:
        self.identity, self.number = identity, number
        self.incoming, self.outgoing = pieces.Incoming(), pieces.Outgoing()
        self.is_damaged = False


class _Peer:
    """A manager that has registered, and the connection by which it has."""

    __slots__ = (
        "block", "claims", "come", "come_bytes", "connection", "host", "is_draining", "lent", "pid", "place", "python",
        "safe", "seen", "shares", "version", "watch", "workers",
    )  # fmt: skip

    def __init__(self, connection: _Connection, record: wire.Register, now: float) -> None:
        self.connection = connection
        self.host, self.pid, self.block, self.place = record.host, record.pid, record.block, record.place
        self.workers, self.python, self.version = record.workers, record.python, record.version
        self.seen = now
        self.watch: EndWatch | None = None
        self.is_draining = False
        self.come = self.safe = 0  # messages that the manager keeps: how many came, and how many the client has
        self.come_bytes = 0  # of those that it was not told of
        self.claims = bool(record.shares)  # its workers write into the client's table
        # It can open memory of this host by name, and we its.
        self.shares = record.shares and record.place == place.here() and portable.has_proc()
        self.lent: dict[int, list[int]] = {}  # task -> descriptors that stay open until it is over


class ManagersDoor:
    """Receives managers' messages, sends them theirs, and notices when one is gone."""

    def __init__(
        self,
        loop: Loop,
        hello: wire.Hello,
        receive: Callable[[str, Any], None],
        gone: Callable[[str, str, str, str, bool], None],
        drop: Callable[[object], None],
    ) -> None:
        self._loop, self._receive, self._gone, self._drop = loop, receive, gone, drop
        self.settings: wire.Settings | None = None
        self._peers: dict[str, _Peer] = {}
        self._connections: dict[str, _Connection] = {}  # the last one of each manager
        self._begun: dict[str, _Connection] = {}  # whose first message is too long for one piece, and not all there
        self._given_up: set[str] = set()  # managers that are not to come back
        self._news: dict[str, _Peer] = {}  # those of whom messages have come that they still keep
        self._acknowledging = False
        self._stopping: Callable[[], None] | None = None
        self._beating = False
        self._ping = 0
        self._spare = SpareMemory()
        _allow_many_connections()
        self._context = zmq.Context(1)
        self._gatekeeper = curve.Gatekeeper(self._context, hello.manager_public)
        self._socket: Any = self._context.socket(zmq.ROUTER)
        self._socket.linger = 1000
        self._socket.sndhwm = self._socket.rcvhwm = 0  # credit bounds what is on the way; nothing may be dropped
        self._socket.maxmsgsize = pieces.MAX_PART
        self._socket.handshake_ivl = _HANDSHAKE_MS
        self._socket.tcp_keepalive, self._socket.tcp_keepalive_idle = 1, _KEEPALIVE_S
        self._socket.tcp_maxrt = _UNACKNOWLEDGED_MS
        curve.secure_server(self._socket, hello.server_secret, hello.server_public)
        self._monitor: Any = self._socket.get_monitor_socket(_ACCEPTED | _PROVEN | _ENDED)
        self._unproven: dict[int, None] = {}  # descriptors of libzmq's, of peers that have not proved themselves
        self.address = _bind(self._socket, hello.bind)
        # These descriptors tell of changes only: whoever uses the sockets must look again before sleeping.
        loop.add_reader(int(self._socket.getsockopt(zmq.FD)), self._serve)
        loop.add_reader(self._gatekeeper.socket.fd, self._serve)
        loop.add_reader(int(self._monitor.fd), self._serve)
        loop.after_reads.insert(0, self._serve)  # before what it brings is passed on to the client

    # -- in

    def _serve(self) -> None:
        if self._socket.closed:
            return
        self._gatekeeper.serve()
        self._count_strangers()
        # Before the settings have come nobody can be answered: what managers say waits.
        while self.settings and not self._socket.closed and self._socket.getsockopt(zmq.EVENTS) & zmq.POLLIN:
            identity, *parts = self._socket.recv_multipart()
            try:
                self._message(identity, parts)
            except BadMessage as problem:
                self._drop(f"from a manager: {problem}")

    def _count_strangers(self) -> None:
        """Peers whose connection ends before they have proved to be managers of this run."""
        while self._monitor.getsockopt(zmq.EVENTS) & zmq.POLLIN:
            event, fd = _EVENT.unpack(self._monitor.recv_multipart()[0])
            if event == _ACCEPTED:
                self._unproven[fd] = None
            elif event == _ENDED and fd in self._unproven:
                del self._unproven[fd]
                self._drop("a peer connected that is no manager of this run")
            elif event == _PROVEN and self._unproven:
                self._unproven.popitem()  # the last one, most likely: libzmq does not say who it is

    def _message(self, identity: bytes, parts: list[bytes]) -> None:
        name, _, digits = identity.decode("utf-8", "replace").rpartition("/")
        number = int(digits) if digits.isdecimal() else 0
        connection = self._connections.get(name)
        if connection is None or connection.identity != identity:
            if connection is not None and connection.number > number:
                return  # by a connection that has ended; what matters will come again
            connection = self._begun.get(name)
            if connection is None or connection.identity != identity:
                connection = _Connection(identity, number)  # the first message, or rubbish
        if name in self._given_up:
            self._answer(identity, wire.Stop(1))  # its tasks run elsewhere
            return
        if connection.is_damaged:
            return  # it has been told to begin another one
        try:
            data = connection.incoming.message(parts)
        except pieces.Missing:
            connection.is_damaged = True
            self._answer(identity, wire.WhoAreYou(0))
            raise
        peer = self._peers.get(name)
        is_peers = peer is not None and peer.connection is connection
        if peer is not None and is_peers:
            peer.seen = monotonic()
        if data is None:
            if not is_peers:
                self._begun[name] = connection
            return
        self._begun.pop(name, None)
        if peer is not None and is_peers:
            if is_kept(data[0]):  # good or bad: the manager counts them, too
                peer.come += 1
                peer.come_bytes += len(data)
                self._news[name] = peer
        else:
            peer = None
        message = decode(data)
        if data[1] and peer is not None:
            if not peer.shares:
                raise BadMessage("memory lent by another host")
            message = with_memory(message, lent.split(data)[2], peer.host)
        self._handle(name, connection, peer, message)

    def _handle(self, name: str, connection: _Connection, peer: _Peer | None, message: Message) -> None:
        if isinstance(message, wire.Register):
            if message.manager != name or not name.isprintable():
                raise BadMessage("a Register with the name of another")
            self._register(name, connection, message)
        elif isinstance(message, wire.Unfit):
            self._receive(name, message)  # it never becomes one of ours
        elif peer is None:
            self._answer(connection.identity, wire.WhoAreYou(0))
        elif isinstance(message, wire.Ping):
            self._post(connection, wire.Pong(0))
        elif isinstance(message, wire.ManagerRefused):
            raise BadMessage("a ManagerRefused from a manager")  # that is for us to say
        elif isinstance(message, wire.Stop):
            self._leave(name, "it has ended as it was told", expected=True)
        elif not isinstance(message, wire.Pong):
            if peer.lent and isinstance(message, (columns.Results, columns.Tasks)):
                for task in message.task_ids():
                    lent.close(peer.lent.pop(task, []))
            self._receive(name, message)

    def _register(self, name: str, connection: _Connection, record: wire.Register) -> None:
        problem = mismatch(record)
        if problem:
            self._answer(connection.identity, wire.Refused(problem))
            self._receive(name, wire.ManagerRefused(name, record.host, record.block, problem))
            return
        assert self.settings is not None
        known = self._peers.get(name)
        if known is not None:
            if not record.workers or (known.host, known.pid) != (record.host, record.pid):
                self._answer(connection.identity, wire.Refused("there is another manager of that name"))
                raise BadMessage("a Register with the name of a manager that is there")
            self._forget(name)
        self._connections[name] = connection
        if not record.workers:  # it doesn't know yet how many it is to have; it will register again
            self._post(connection, self.settings)
            return
        peer = self._peers[name] = _Peer(connection, record, monotonic())
        self._watch(name, peer)
        self._receive(name, record)
        if self._stopping is not None:
            self._post(connection, wire.Stop(1))
        if not self._beating:
            self._beating = True
            self._loop.call_at(monotonic() + self.settings.heartbeat_ms / 1000, self._beat)

    # -- who is there

    def _watch(self, name: str, peer: _Peer) -> None:
        if peer.place == place.here():
            peer.watch = EndWatch(self._loop, peer.pid, lambda: self._ended(name))

    def _ended(self, name: str) -> None:
        self._serve()  # what it said before it ended
        peer = self._peers.get(name)
        if peer is None or not peer.is_draining:
            self._leave(name, _ENDED_TEXT)
            return
        # It was to end, and to say so: zmq may not have brought that yet.
        self._loop.call_at(monotonic() + _LAST_WORDS_S, lambda: self._end_of(name, peer))

    def _end_of(self, name: str, peer: _Peer) -> None:
        if self._peers.get(name) is peer:
            self._leave(name, _ENDED_TEXT)

    def _leave(self, name: str, reason: str, *, expected: bool = False) -> None:
        peer = self._peers.get(name)
        if peer is not None:
            self._forget(name)
            self._gone(name, peer.host, peer.block, reason, expected)
        if self._stopping is not None and not self._peers:
            self._finish()

    def _forget(self, name: str) -> None:
        peer = self._peers.pop(name)
        self._news.pop(name, None)
        self._connections.pop(name, None)
        for descriptors in peer.lent.values():
            lent.close(descriptors)
        if peer.watch is not None:
            peer.watch.close()

    def _beat(self) -> None:
        """Ask everybody now and then whether they are there; give up those that are silent for too long."""
        assert self.settings is not None
        now = monotonic()
        limit = self.settings.threshold_ms / 1000
        for name, peer in list(self._peers.items()):
            if now - peer.seen > limit:
                self._given_up.add(name)
                self._post(peer.connection, wire.Stop(1))  # should it hear of that
                self._leave(name, f"it has been silent for {now - peer.seen:.0f} s")
            # Else it has asked us itself. But what it asks comes after all of a message that it is sending.
            elif peer.connection.incoming.is_amid or now - peer.seen >= self.settings.heartbeat_ms / 1000:
                self._post(peer.connection, wire.Ping(0))
        self._spare.look(len(self._peers))
        if self._peers:
            self._loop.call_at(now + self.settings.heartbeat_ms / 1000, self._beat)
        else:
            self._beating = False

    def block_over(self, record: wire.BlockOver) -> None:
        """Its job is over: give its managers up soon. What they had sent may still be on its way here."""
        names = [name for name, peer in self._peers.items() if peer.block == record.block]

        def give_up() -> None:
            for name in names:
                peer = self._peers.get(name)
                if peer is not None:
                    self._given_up.add(name)
                    self._post(peer.connection, wire.Stop(1))
                    self._leave(name, record.reason)

        self._loop.call_at(monotonic() + _OVER_S, give_up)

    # -- out

    def _send(self, connection: _Connection, data: bytes) -> None:
        connection.outgoing.send(self._socket, data, to=connection.identity)

    def _post(self, connection: _Connection, record: wire.Record) -> None:
        self._send(connection, bytes((wire.KIND[type(record)], 0)) + wire.encode(record))

    def _answer(self, identity: bytes, record: wire.Record) -> None:
        """Tell this to somebody who is no manager of ours, or not by this connection."""
        data = bytes((wire.KIND[type(record)], 0)) + wire.encode(record)
        self._socket.send_multipart([identity, pieces.unnumbered(data)])

    def send(self, name: str, record: wire.Record) -> None:
        """Send a manager a control message; one that is gone doesn't get it."""
        peer = self._peers.get(name)
        if peer is not None:
            peer.is_draining = peer.is_draining or isinstance(record, wire.Drain)
            self._post(peer.connection, record)

    def lend_object(self, name: str, record: Object, fd: int) -> bool:
        """Send a manager an object in memory that stays open here. False if it can't open that."""
        peer = self._peers.get(name)
        if peer is None or not peer.shares:
            return False
        self._send(peer.connection, lent.message(wire.KIND[Object], wire.encode(record), [fd]))
        return True

    def claims(self, name: str) -> bool:
        """True if the workers of this manager say by themselves, in the client's table, what they begin."""
        peer = self._peers.get(name)
        return peer is not None and peer.claims

    def send_tasks(self, name: str, tasks: columns.Tasks) -> None:
        """Send a manager tasks."""
        peer = self._peers.get(name)
        if peer is not None:
            descriptors = tasks.descriptors
            if descriptors and peer.shares:
                peer.lent[tasks.task_ids()[0]] = descriptors
                self._send(peer.connection, lent.message(*tasks.message(), descriptors))
            else:
                self._send(peer.connection, lent.message(*inline_tasks(tasks).message(), []))

    def standing(self, load: Load, draining: int) -> Standing | None:
        """What is known of a manager; None if it is none of these."""
        peer = self._peers.get(load.manager)
        if peer is None:
            return None
        return Standing(
            load.manager, load.held, load.window, load.is_open, draining, int(1000 * load.idle_s), peer.workers,
            peer.block, peer.host, peer.pid, peer.python, peer.version,
        )  # fmt: skip

    def broadcast(self, record: wire.Record) -> None:
        """Send every manager a control message."""
        for peer in self._peers.values():
            self._post(peer.connection, record)

    def client_has_all(self) -> None:
        """Whatever has come is with the client. Managers are told so soon, or at once if they keep much."""
        if not self._news:
            return
        much = False
        for peer in self._news.values():
            peer.safe = peer.come
            much = much or peer.come_bytes > _ACKNOWLEDGE_BYTES
        if much:
            self._acknowledge()
        elif not self._acknowledging:
            self._acknowledging = True
            self._loop.call_at(monotonic() + _ACKNOWLEDGE_S, self._acknowledge_later)

    def _acknowledge_later(self) -> None:
        self._acknowledging = False
        self._acknowledge()

    def _acknowledge(self) -> None:
        for name, peer in list(self._news.items()):
            self._post(peer.connection, wire.Taken(peer.safe))
            if peer.safe == peer.come:
                peer.come_bytes = 0
                del self._news[name]

    # -- the end

    def stop(self, now: bool, stopped: Callable[[], None]) -> None:
        """Have every manager end; then call back."""
        self._stopping = stopped
        self.broadcast(wire.Stop(now))
        if not self._peers:
            self._finish()
        else:
            self._loop.call_at(monotonic() + 8.0, self._finish)

    def _finish(self) -> None:
        stopped, self._stopping = self._stopping, None
        if stopped is not None:
            self._socket.disable_monitor()
            self._socket.close()
            stopped()


def _bind(socket: Any, choices: list[str]) -> str:
    """Listen at the first choice that is free: at all its endpoints, divided by blanks. Returns these, with their port.

    Somebody else may have got the port that the last interchange had: managers read their ticket again.

    Raises:
        OSError: none is.
    """
    problem: Exception | None = None
    for choice in choices:
        bound: list[str] = []
        try:
            for endpoint in choice.split(" ") if not choice.startswith(_IPC) else [choice]:
                bound.append(_listen(socket, endpoint, bound))
        except zmq.ZMQError as error:
            problem = error
            for endpoint in bound:
                socket.unbind(endpoint)
            continue
        return " ".join(bound)
    raise OSError(f"cannot listen at {', '.join(choices[:3])}{', ...' * (len(choices) > 3)}: {problem}")


def _listen(socket: Any, endpoint: str, others: list[str]) -> str:
    if others and endpoint.endswith(":*"):  # the port that the first one has got
        endpoint = endpoint[:-1] + others[0].rpartition(":")[2]
    socket.ipv6 = "[" in endpoint  # else zmq makes IPv6 sockets for IPv4, too
    socket.bind(endpoint)
    if endpoint.startswith(_IPC):
        os.chmod(endpoint[len(_IPC) :], 0o600)  # whatever the umask is
    last = socket.getsockopt(zmq.LAST_ENDPOINT)
    return last.decode() if isinstance(last, bytes) else str(last)


def _allow_many_connections() -> None:
    """Each is a descriptor, and who can reach the port can take some, too. This process starts no others."""
    try:
        _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    except (OSError, ValueError):
        return  # it stays as it is
