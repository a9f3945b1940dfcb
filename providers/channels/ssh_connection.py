"""One SSH connection, from the socket to the login, and what runs over it."""

from __future__ import annotations

import logging
import os
import socket
import subprocess
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import paramiko

from parsl_pool.errors import SSHException, described
from parsl_pool.loggers import careful_logger
from parsl_pool.providers.channels import known_hosts
from parsl_pool.providers.channels.ssh_config import Route
from parsl_pool.providers.channels.ssh_login import Login, log_in
from parsl_pool.providers.channels.tunnel import Tunnels

_LOGGER = "parsl_pool.ssh.wire"
_SILENT_S = 20  # until a machine that acknowledges nothing is taken for lost
_KEEP_ALIVE_S = 10
_END_S = 5.0

# Kinds of signatures, and the kinds of keys that make them: a file names the key.
_SIGNATURES = {"ssh-rsa": ["rsa-sha2-512", "rsa-sha2-256"]}


class _Quiet(logging.Filter):
    """paramiko calls errors what we try again, or raise: for it is a matter of those who look for a fault there."""

    def filter(self, record: logging.LogRecord) -> bool:
        record.levelno, record.levelname = logging.DEBUG, "DEBUG"
        return True


careful_logger(_LOGGER).addFilter(_Quiet())


class _Transport(paramiko.Transport):
    """One that wakes up once a second while nothing comes, and not ten times. Who closes it wakes it up at once."""

    _active_check_timeout = 1.0


class Connection:
    """A connection that is made, and used by several threads, until it ends."""

    def __init__(
        self,
        name: str,
        route: Route,
        login: Login,
        limit_s: float,
        way: Callable[[], Any] | None = None,
        patience_s: float = 0.0,
    ) -> None:
        """Make it.

        Args:
            name: what the user calls the host.
            limit_s: seconds that each step may take.
            way: gives a socket or the like that leads there; None: there is a direct way, or a command makes one.
            patience_s: how long a person may think about a question.

        Raises:
            SSHException, BadHostKeyException, AuthException: there is none.
        """
        self.name, self._limit_s = name, limit_s
        self._process: subprocess.Popen[bytes] | None = None
        self._made_by = os.getpid()
        try:
            sock = way() if way is not None else self._socket(route)
        except (paramiko.SSHException, EOFError, OSError) as problem:
            where = f"{route.host}, port {route.port}"
            raise SSHException(f"cannot connect to {where}", described(problem), name) from problem
        try:
            self._transport = self._made(sock, limit_s, patience_s)
        except (paramiko.SSHException, EOFError, OSError) as problem:
            sock.close()
            raise SSHException("cannot speak SSH with it", described(problem), name) from problem
        self.tunnels = Tunnels(self._transport, name)
        try:
            self._begin(route, login, limit_s)
        except (paramiko.SSHException, EOFError, OSError) as problem:
            self.close()
            raise SSHException("the connection ended while it was made", described(problem), name) from problem
        except BaseException:  # ours, and Ctrl-C; passed on
            self.close()
            raise

    # -- making it

    def _socket(self, route: Route) -> Any:
        if route.proxy_command:
            return self._by_command(route.proxy_command)
        sock = socket.create_connection((route.host, route.port), self._limit_s)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if hasattr(socket, "TCP_USER_TIMEOUT"):  # else a machine that is cut off is noticed after a quarter of an hour
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, _SILENT_S * 1000)
        return sock

    def _by_command(self, command: str) -> socket.socket:
        ours, theirs = socket.socketpair()
        with theirs:
            try:
                self._process = subprocess.Popen(
                    ["/bin/sh", "-c", f"exec {command}"], stdin=theirs.fileno(), stdout=theirs.fileno(),
                    start_new_session=True,
                )  # fmt: skip
            except BaseException:  # passed on
                ours.close()
                raise
        return ours

    def _made(self, sock: Any, limit_s: float, patience_s: float) -> paramiko.Transport:
        transport = _Transport(sock)
        transport.name = f"parsl-pool-ssh-{self.name}"
        transport.set_log_channel(_LOGGER)
        transport.banner_timeout = transport.handshake_timeout = limit_s
        transport.auth_timeout = max(limit_s, patience_s)
        transport.channel_timeout = limit_s
        return transport

    def _begin(self, route: Route, login: Login, limit_s: float) -> None:
        transport = self._transport
        known = known_hosts.kinds(known_hosts.lines_for(route.known_name, route.known_hosts))
        wanted = [name for kind in known for name in _SIGNATURES.get(kind, [kind])]
        options = transport.get_security_options()
        options.key_types = sorted(options.key_types, key=lambda kind: kind not in wanted)
        transport.start_client(timeout=limit_s)
        key = transport.get_remote_server_key()
        known_hosts.check(
            route.host, route.port, route.known_name, key.get_name(), key.get_base64(), route.known_hosts
        )
        log_in(transport, login, self.name)
        transport.set_keepalive(_KEEP_ALIVE_S)

    # -- using it

    @property
    def is_alive(self) -> bool:
        """False once it has ended, and in a fork of the process that made it."""
        return self._transport.is_active() and os.getpid() == self._made_by

    def session(self, limit_s: float) -> paramiko.Channel:
        """A new session. Raises paramiko.SSHException."""
        return self._transport.open_session(timeout=limit_s)

    def way_to(self, host: str, port: int) -> paramiko.Channel:
        """What leads from there to another host, like a socket. Raises paramiko.SSHException."""
        return self._transport.open_channel("direct-tcpip", (host, port), ("127.0.0.1", 0), timeout=self._limit_s)

    def close(self) -> None:
        """End it, and wait for its threads."""
        if os.getpid() != self._made_by:
            return  # it belongs to another process
        sock = self._transport.sock
        with suppress(OSError, AttributeError):  # it has ended, or is no socket: then it is no matter of a moment
            sock.shutdown(socket.SHUT_RDWR)  # who reads it wakes up
        self._transport.close()
        sock.close()
        self.tunnels.close()
        if self._transport.is_alive():
            self._transport.join(_END_S)
        if self._process is not None:
            self._process.terminate()
            try:
                self._process.wait(_END_S)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
