"""Asks a service for the address of who asks: the one thing of `parsl_pool.addresses` that goes outside."""

from __future__ import annotations

import http.client
import ipaddress
import socket
import threading
from contextlib import suppress
from urllib.parse import urlsplit

from parsl_pool.errors import ConfigurationError, described, shown

_KINDS: dict[str, type[http.client.HTTPConnection]] = {
    "http": http.client.HTTPConnection,
    "https": http.client.HTTPSConnection,
}


class _Query:
    """One question, in a thread: a time-out of sockets begins anew with each byte, and that of a name can't be set."""

    def __init__(self, connection: http.client.HTTPConnection, path: str, most: int) -> None:
        self._connection, self._path, self._most = connection, path, most
        self.answer: str | None = None
        self.problem: Exception | None = None
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="parsl-pool-address-query", daemon=True)

    def ask(self, timeout: float) -> bool:
        """True if it is over in time. Else the thread ends soon: its connection is."""
        self._thread.start()
        if self._over.wait(timeout):
            self._thread.join()
            return True
        sock = self._connection.sock
        if sock is not None:
            with suppress(OSError):  # it ends right now
                sock.shutdown(socket.SHUT_RDWR)
        return False

    def _run(self) -> None:
        try:
            self._connection.request("GET", self._path, headers={"Accept": "text/plain"})
            response = self._connection.getresponse()
            text = response.read(self._most).decode("ascii", "replace").strip()
            if response.status != 200:
                raise OSError(f"it answers with status {response.status} {response.reason}")
            self.answer = text
        except Exception as problem:  # whoever asked gets it
            self.problem = problem
        finally:
            self._connection.close()
            self._over.set()


def query(url: str, timeout: float, most: int) -> str:
    """The address that the service says. Raises ConfigurationError, TimeoutError, OSError."""
    parts = urlsplit(url)
    if parts.scheme not in _KINDS or not parts.hostname:
        raise ConfigurationError(f"url must be an http or https address, got {shown(url)}")
    try:
        connection = _KINDS[parts.scheme](parts.hostname, parts.port, timeout=timeout)
    except ValueError as problem:  # the port
        raise ConfigurationError(f"url must be an http or https address, got {shown(url)}: {problem}") from None
    question = _Query(connection, (parts.path or "/") + (f"?{parts.query}" if parts.query else ""), most)
    is_late = not question.ask(timeout)
    if is_late or isinstance(question.problem, TimeoutError):
        raise TimeoutError(f"{url} has not answered within {timeout:g} s")
    if question.problem is not None:
        raise OSError(f"{url} can't be asked: {described(question.problem)}") from question.problem
    answer = question.answer or ""
    try:
        return str(ipaddress.ip_address(answer))
    except ValueError:
        raise OSError(f"{url} answers with {shown(answer)}, which is no address") from None
