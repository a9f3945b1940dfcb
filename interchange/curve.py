"""CURVE for zmq: the keys of a run, and who may connect.

Both sides prove themselves: the interchange by its key, which managers know beforehand; every manager by the one
key that this run's managers share. Keys travel by inherited sockets and private files, never on a command line.
"""

from __future__ import annotations

import json
import os
from typing import Any, NamedTuple

import zmq
from zmq.utils import z85

_ZAP_OK = b"200"
_ZAP_DENIED = b"400"


class Keys(NamedTuple):
    """The keys of one run, as z85 text."""

    server_public: str
    server_secret: str
    manager_public: str
    manager_secret: str


def make_keys() -> Keys:
    """New keys. Make them before the first zmq context of the process is closed (a libzmq fault)."""
    server_public, server_secret = (key.decode() for key in zmq.curve_keypair())
    manager_public, manager_secret = (key.decode() for key in zmq.curve_keypair())
    return Keys(server_public, server_secret, manager_public, manager_secret)


class Ticket(NamedTuple):
    """What a manager needs to join a run. Kept in a private file."""

    addresses: list[str]  # any of them may be the one that this manager can reach
    server_public: str
    manager_public: str
    manager_secret: str
    patience_s: float = 30.0  # how long it tries until it has reached one

    @property
    def address(self) -> str:
        """The likeliest."""
        return self.addresses[0]


def write_ticket(path: str, ticket: Ticket) -> None:
    """Write it so that only this user can read it, and so that nobody ever sees half of it."""
    temporary = f"{path}.new"
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(fd, "w") as file:
        os.fchmod(fd, 0o600)  # whatever the umask is
        json.dump(ticket._asdict(), file)
    os.replace(temporary, path)


def read_ticket(path: str) -> Ticket:
    """Raises OSError, ValueError or TypeError if there is no good one."""
    with open(path) as file:
        ticket = Ticket(**json.load(file))
    if not isinstance(ticket.addresses, list) or not ticket.addresses:
        raise ValueError("it has no addresses")
    return ticket


class Gatekeeper:
    """Answers libzmq's question (ZAP, RFC 27) whether a peer may connect: only with this run's manager key."""

    def __init__(self, context: zmq.Context[Any], allowed: str) -> None:
        self._allowed = z85.decode(allowed)
        self.socket = context.socket(zmq.REP)
        self.socket.linger = 0
        self.socket.bind("inproc://zeromq.zap.01")

    def serve(self) -> None:
        """Answer what has been asked."""
        while self.socket.getsockopt(zmq.EVENTS) & zmq.POLLIN:
            version, request, _domain, _address, _identity, mechanism, *credentials = self.socket.recv_multipart()
            good = mechanism == b"CURVE" and credentials[:1] == [self._allowed]
            status, text = (_ZAP_OK, b"OK") if good else (_ZAP_DENIED, b"not a manager of this run")
            self.socket.send_multipart([version, request, status, text, b"", b""])


def secure_server(socket: Any, secret: str, public: str) -> None:
    """Make a socket accept only CURVE connections."""
    socket.curve_secretkey = secret.encode()
    socket.curve_publickey = public.encode()
    socket.curve_server = True


def secure_client(socket: Any, ticket: Ticket) -> None:
    """Make a socket prove itself, and insist on the server's key."""
    socket.curve_secretkey = ticket.manager_secret.encode()
    socket.curve_publickey = ticket.manager_public.encode()
    socket.curve_serverkey = ticket.server_public.encode()
