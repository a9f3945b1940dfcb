"""Connections to web servers: by TLS or not, through the proxies of the environment, kept open between requests."""

from __future__ import annotations

import base64
import http.client
import re
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

_PORTS = {"http": 80, "https": 443}
_FOR_PASSING = re.compile(r"Tunnel connection failed: (?:5\d\d|429)")


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
    if not host or parts.scheme not in _PORTS:
        raise Refused(f"the proxy that the environment names, {shown(text)}, must be http://HOST:PORT")
    given = f"{unquote(parts.username or '')}:{unquote(parts.password or '')}"
    return Proxy(host, port or _PORTS[parts.scheme], parts.scheme == "https", basic(given) if parts.username else "")


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
        self._lock = Lock()  # guards _idle and _context
        self._idle: dict[End, list[http.client.HTTPConnection]] = {}
        self._context: ssl.SSLContext | None = None

    def __enter__(self) -> Connections:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, problem: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        with self._lock:
            idle, self._idle = self._idle, {}
        for connection in (one for several in idle.values() for one in several):
            connection.close()

    def end_of(self, url: Url) -> End:
        """What leads to a URL. Raises Refused."""
        return End(url.scheme, url.host, url.port or _PORTS[url.scheme], proxy_for(url, self._proxies))

    def kept(self, end: End) -> http.client.HTTPConnection | None:
        """One that has been used before. Its server may have ended it meanwhile."""
        with self._lock:
            idle = self._idle.get(end)
            return idle.pop() if idle else None

    def keep(self, end: End, connection: http.client.HTTPConnection) -> None:
        with self._lock:
            self._idle.setdefault(end, []).append(connection)

    def new(self, end: End) -> http.client.HTTPConnection:
        """One that is connected.

        Raises:
            Passing, Refused: it can't be.
        """
        connection = self._unconnected(end)
        try:
            connection.connect()
            connection.sock.settimeout(self._options.silence)
        except BaseException as problem:  # passed on, as ours if we know it; nobody else can close this
            connection.close()
            if isinstance(problem, (OSError, http.client.HTTPException, UnicodeError)):
                raise _failure(problem, end) from None
            raise
        return connection

    def _unconnected(self, end: End) -> http.client.HTTPConnection:
        limit_s = self._options.connect_timeout
        host, port, proxy = end.host, end.port, end.proxy
        if proxy is not None:
            host, port = proxy.host, proxy.port
        # Who is asked to lead to a server of TLS speaks TLS with that one; we can't do both on one connection.
        if proxy is not None and proxy.is_tls and end.scheme == "https":
            raise Refused("the environment names a proxy for https which is itself reached by https: give http://")
        if end.scheme == "https" or (proxy is not None and proxy.is_tls):
            connection: http.client.HTTPConnection
            connection = http.client.HTTPSConnection(host, port, timeout=limit_s, context=self._tls())
        else:
            connection = http.client.HTTPConnection(host, port, timeout=limit_s)
        if proxy is not None and end.scheme == "https":
            headers = {"Proxy-Authorization": proxy.authorization} if proxy.authorization else {}
            connection.set_tunnel(end.host, end.port, headers)
        return connection

    def _tls(self) -> ssl.SSLContext:
        with self._lock:
            context = self._context
        if context is None:
            context = tls_context(self._options)  # it reads files; should two threads do so, both are right
            with self._lock:
                self._context = context
        return context


def _failure(problem: Exception, end: End) -> Passing | Refused:
    proxy = f" by the proxy {end.proxy.host}:{end.proxy.port}" if end.proxy is not None else ""
    text = f"cannot connect to {end.host}:{end.port}{proxy}: {said(problem)}"
    if isinstance(problem, ssl.SSLCertVerificationError):
        return Refused(f"{text}. It is not trusted; if its authority is to be, give its certificate as ca_file=")
    if isinstance(problem, UnicodeError):  # that can be no name of a host
        return Refused(text)
    if str(problem).startswith("Tunnel connection failed") and not _FOR_PASSING.match(str(problem)):
        return Refused(text)
    return Passing(text)


def said(problem: BaseException) -> str:
    """What an error of a connection says, without numbers that help nobody."""
    if isinstance(problem, TimeoutError):
        return "it does not answer in time"
    if isinstance(problem, ssl.SSLCertVerificationError):
        return f"its certificate is not valid: {problem.verify_message}"
    if isinstance(problem, OSError) and problem.strerror:
        return problem.strerror
    return described(problem)
