"""Ports of another machine whose connections come out here, over an SSH connection that is there already.

    who connects there --> its sshd --SSH--> Transport's thread --> a pair of threads --> 127.0.0.1:port here
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import paramiko

from parsl_pool.errors import SSHException, described
from parsl_pool.loggers import careful_logger

log = careful_logger(__name__)

_EVERYWHERE = ""  # all addresses of that machine, where its sshd lets (GatewayPorts); else its loopback
_CONNECT_S = 10.0
_PIECE = 1 << 16
_END_S = 5.0


class Tunnels:
    """Those of one connection. Ports are opened by one thread at a time."""

    def __init__(self, transport: paramiko.Transport, name: str) -> None:
        self._transport, self._name = transport, name
        self._lock = threading.Lock()  # guards _ports, _open and _is_closed
        self._ports: dict[int, int] = {}  # a port here, by the one there
        self._open: set[_Pair] = set()
        self._is_closed = False

    def open(self, port: int) -> int:
        """Open one there, or say which one it is. sshd chooses it: one that is asked for it may open for IPv6 alone,
        while the IPv4 one is somebody else's, and call that a success.

        Raises:
            SSHException: it can't be had.
        """
        with self._lock:
            there = next((there for there, here in self._ports.items() if here == port), 0)
        if there:
            return there
        try:
            there = self._transport.request_port_forward(_EVERYWHERE, 0, self._incoming)
        except (paramiko.SSHException, EOFError, OSError) as problem:
            raise SSHException(
                "it does not forward a port to here (its sshd must have AllowTcpForwarding yes, or remote)",
                described(problem), self._name,
            ) from problem  # fmt: skip
        with self._lock:
            self._ports[there] = port
        return there

    def close(self) -> None:
        """End what is open, once the connection has ended."""
        with self._lock:
            self._is_closed = True
            pairs = list(self._open)
        for pair in pairs:
            pair.end()
        for pair in pairs:
            pair.join()

    def _incoming(self, far: paramiko.Channel, _origin: Any, where: tuple[str, int]) -> None:
        """Called by the connection's thread, which must go on at once."""
        with self._lock:
            port = self._ports.get(where[1], 0)
            pair = None if self._is_closed or not port else _Pair(far, port, self._name, self._ended)
            if pair is not None:
                self._open.add(pair)
        if pair is None:
            far.close()
        else:
            pair.start()

    def _ended(self, pair: _Pair) -> None:
        with self._lock:
            self._open.discard(pair)


class _Pair:
    """A connection there and one here, and two threads that pass on what comes."""

    def __init__(self, far: paramiko.Channel, port: int, name: str, ended: Callable[[_Pair], None]) -> None:
        self._far, self._port, self._ended = far, port, ended
        self._near: socket.socket | None = None  # set by the first thread, before the second one starts
        self._inward = threading.Thread(target=self._bring, name=f"parsl-pool-tunnel-{name}-in", daemon=True)
        self._outward = threading.Thread(target=self._send_back, name=f"parsl-pool-tunnel-{name}-out", daemon=True)

    def start(self) -> None:
        self._inward.start()

    def end(self) -> None:
        """Let both threads run into the end."""
        self._far.close()
        near = self._near
        if near is not None:
            with suppress(OSError):  # the other side was quicker
                near.shutdown(socket.SHUT_RDWR)

    def join(self) -> None:
        self._inward.join(_END_S)

    def _bring(self) -> None:
        try:
            near = self._near = socket.create_connection(("127.0.0.1", self._port), _CONNECT_S)
        except OSError as problem:
            log.debug("nobody takes what comes from there at port %d: %s", self._port, problem)
            self._far.close()
            self._ended(self)
            return
        near.settimeout(None)
        near.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._outward.start()
        _pass_on(self._far, near)
        with suppress(OSError):  # it was quicker
            near.shutdown(socket.SHUT_RDWR if self._far.closed else socket.SHUT_WR)
        self._outward.join()
        near.close()
        self._far.close()
        self._ended(self)

    def _send_back(self) -> None:
        assert self._near is not None
        _pass_on(self._near, self._far)
        with suppress(OSError, EOFError):  # as above
            self._far.shutdown_write()


def _pass_on(source: Any, target: Any) -> None:
    """Until one of the two has ended."""
    try:
        while piece := source.recv(_PIECE):
            target.sendall(piece)
    except (OSError, EOFError, paramiko.SSHException):  # both are closed next
        return
