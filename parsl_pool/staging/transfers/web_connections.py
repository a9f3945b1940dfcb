"""Connections to web servers: by TLS or not, through the proxies of the environment, kept open between requests."""

from __future__ import annotations

import base64
import socket
import ssl
from threading import Lock
from types import TracebackType
from typing import NamedTuple
from urllib.parse import unquote, urlsplit
from urllib.request import getproxies_environment, proxy_bypass_environment  # type: ignore[attr-defined]  # it is there

from parsl_pool.errors import ConfigurationError, described
from parsl_pool.staging.transfers.errand import Passing, Refused
from parsl_pool.staging.transfers.options import Transfer
from parsl_pool.staging.transfers.urls import Url, shown
from parsl_pool.staging.transfers.web_answers import is_passing
from parsl_pool.staging.transfers.web_heads import Garbled
from parsl_pool.staging.transfers.web_wire import Ended, Wire

PORTS = {"http": 80, "https": 443}
_MOST = 16  # connections that nobody uses


class Proxy(NamedTuple):
    """A proxy; never shown, for it may have a password."""

    host: str
    port: int
    is_tls: bool
    authorization: str  # a header's value; "": none


class End(NamedTuple):
    """What a connection leads to."""

    scheme: str
    host: str
    port: int
    proxy: Proxy | None


def proxy_for(url: Url, found: dict[str, str]) -> Proxy | None:
    """The proxy for a URL.

    Args:
        found: what the environment says of proxies: http_proxy, https_proxy, all_proxy, no_proxy.

    Raises:
        Refused: it is of no kind that we can use.
    """
    if not found:
        return None
    text = found.get(url.scheme) or found.get("all")
    if not text or proxy_bypass_environment(url.host_port, found):
        return None
    try:
        parts = urlsplit(text if "://" in text else f"http://{text}")
        host, port = parts.hostname, parts.port
    except ValueError:
        host, port = None, None
    if not host or parts.scheme not in PORTS:
        raise Refused(f"the proxy that the environment names, {shown(text)}, must be http://HOST:PORT")
    given = f"{unquote(parts.username or '')}:{unquote(parts.password or '')}"
    return Proxy(host, port or PORTS[parts.scheme], parts.scheme == "https", basic(given) if parts.username else "")


def basic(user_and_password: str) -> str:
    """The value of a header that lets in who has them."""
    return "Basic " + base64.b64encode(user_and_password.encode()).decode()


def tls_context(options: Transfer) -> ssl.SSLContext:
    """One that verifies certificates and names.

    Raises:
        ConfigurationError: there is no such `ca_file`.
    """
    try:
        return ssl.create_default_context(cafile=options.ca_file)
    except (OSError, ssl.SSLError) as problem:
        raise ConfigurationError(f"ca_file must be a file of certificates (PEM), got {options.ca_file!r}: "
                                 f"{described(problem)}") from problem  # fmt: skip


class Connections:
    """Connections that are kept while nobody uses them, until `close`. Any thread may take one."""

    def __init__(self, options: Transfer) -> None:
        self._options = options
        self._proxies = getproxies_environment()  # once: to look through all of the environment takes its time
        self._lock = Lock()  # guards what follows
        self._idle: list[tuple[End, Wire]] = []  # the oldest first
        self._is_closed = False
        self._context: ssl.SSLContext | None = None

    def __enter__(self) -> Connections:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, problem: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End those that nobody uses; from now on the others are not kept."""
        with self._lock:
            idle, self._idle, self._is_closed = self._idle, [], True
        for _, wire in idle:
            wire.close()

    def end_of(self, url: Url) -> End:
        """What leads to a URL. Raises Refused."""
        return End(url.scheme, url.host, url.port or PORTS[url.scheme], proxy_for(url, self._proxies))

    def kept(self, end: End) -> Wire | None:
        """One that has been used before. Its server may end it at the same moment."""
        while True:
            with self._lock:
                place = next((at for at in reversed(range(len(self._idle))) if self._idle[at][0] == end), None)
                if place is None:
                    return None
                _, wire = self._idle.pop(place)
            if wire.is_quiet:
                return wire
            wire.close()  # its server has ended it, or says what nobody has asked

    def keep(self, end: End, wire: Wire) -> None:
        """Have it back: an answer has come to its end, and the server goes on to listen."""
        too_many = [wire]
        with self._lock:
            if not self._is_closed:
                self._idle.append((end, wire))
                too_many = [self._idle.pop(0)[1]] if len(self._idle) > _MOST else []
        for each in too_many:
            each.close()

    def new(self, end: End) -> Wire:
        """One that is connected.

        Raises:
            Passing, Refused: it can't be.
        """
        proxy = end.proxy
        # Who is asked to lead to a server of TLS speaks TLS with that one; we can't do both on one connection.
        if proxy is not None and proxy.is_tls and end.scheme == "https":
            raise Refused("the environment names a proxy for https which is itself reached by https: give http://")
        limit_s = self._options.connect_timeout
        place = (end.host, end.port) if proxy is None else (proxy.host, proxy.port)
        is_tls = end.scheme == "https" or (proxy is not None and proxy.is_tls)
        context = self._tls() if is_tls else None
        try:
            connection = socket.create_connection(place, limit_s)
            try:
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                if proxy is not None and end.scheme == "https":
                    _ask_for_tunnel(connection, end, proxy, limit_s)
                if context is not None:
                    name = place[0] if end.scheme != "https" else end.host
                    connection = context.wrap_socket(connection, server_hostname=name)
                connection.settimeout(self._options.silence)
            except BaseException:  # passed on; nobody else can close this
                connection.close()
                raise
        except (OSError, Garbled, UnicodeError, _NoTunnel) as problem:
            raise _failure(problem, end) from None
        return Wire(connection)

    def _tls(self) -> ssl.SSLContext:
        with self._lock:
            context = self._context
        if context is None:
            context = tls_context(self._options)  # it reads files; should two threads do so, both are right
            with self._lock:
                self._context = context
        return context


class _NoTunnel(Exception):
    """A proxy does not lead where it was asked to.

    Attributes:
        is_passing: whether it may do so later.
    """

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(f"the proxy says: HTTP {status} {reason}".rstrip())
        self.is_passing = is_passing(status)


def _ask_for_tunnel(connection: socket.socket, end: End, proxy: Proxy, limit_s: float) -> None:
    place = f"{f'[{end.host}]' if ':' in end.host else in_ascii(end.host)}:{end.port}"
    lines = [f"CONNECT {place} HTTP/1.1", f"Host: {place}"]
    if proxy.authorization:
        lines.append(f"Proxy-Authorization: {proxy.authorization}")
    wire = Wire(connection)
    wire.send(request_of(lines))
    head = wire.head(limit_s)
    if not 200 <= head.status < 300:
        raise _NoTunnel(head.status, head.reason)
    wire.taken()


def in_ascii(host: str) -> str:
    """A host's name as it is sent. Raises UnicodeError: it can be none."""
    return host if host.isascii() else host.encode("idna").decode("ascii")


def request_of(lines: list[str]) -> bytes:
    """The head of a request. Raises Refused: there is an end of a line in one of the lines."""
    try:
        data = "\r\n".join([*lines, "", ""]).encode("latin-1")
    except UnicodeEncodeError:
        data = b""
    if data.count(b"\n") != len(lines) + 1 or data.count(b"\r") != len(lines) + 1 or b"\0" in data:
        raise Refused("a header, such as a key of the environment, has letters in it that can't be sent")
    return data


def _failure(problem: Exception, end: End) -> Passing | Refused:
    proxy = f" by the proxy {end.proxy.host}:{end.proxy.port}" if end.proxy is not None else ""
    text = f"cannot connect to {end.host}:{end.port}{proxy}: {said(problem)}"
    if isinstance(problem, ssl.SSLCertVerificationError):
        return Refused(f"{text}. It is not trusted; if its authority is to be, give its certificate as ca_file=")
    if isinstance(problem, UnicodeError):  # that can be no name of a host
        return Refused(text)
    if isinstance(problem, _NoTunnel) and not problem.is_passing:
        return Refused(text)
    return Passing(text)


def said(problem: BaseException) -> str:
    """What an error of a connection says, without numbers that help nobody."""
    if isinstance(problem, TimeoutError):
        return "it does not answer in time"
    if isinstance(problem, (Ended, Garbled, _NoTunnel)):
        return str(problem)
    if isinstance(problem, ssl.SSLCertVerificationError):
        return f"its certificate is not valid: {problem.verify_message}"
    if isinstance(problem, OSError) and problem.strerror:
        return problem.strerror
    return described(problem)
