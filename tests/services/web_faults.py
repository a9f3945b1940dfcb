"""A web server on this machine's loopback that does what a test has planned: serve, refuse, cut, fall silent.

    with WebFaults() as server:
        server.plan("/a", gives(b"busy", 503), serves(b"data"))     # the first request, and all after it
"""

from __future__ import annotations

import contextlib
import re
import socket
import ssl
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple

Act = Callable[["Handler"], None]


class Request(NamedTuple):
    """One that came."""

    method: str
    target: str
    headers: dict[str, str]  # by names in small letters


class Handler(BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"
    server: _Server

    def _handle(self) -> None:
        headers = {name.lower(): value for name, value in self.headers.items()}
        self.server.faults.act_for(Request(self.command, self.path, headers))(self)

    do_GET = do_PUT = do_CONNECT = _handle

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def head(self, status: int, **headers: object) -> None:
        """Status and headers; an underscore stands for a hyphen."""
        self.send_response(status)
        for name, value in headers.items():
            if value is not None:
                self.send_header(name.replace("_", "-"), str(value))
        self.end_headers()

    def body(self) -> bytes:
        return self.rfile.read(int(self.headers.get("Content-Length") or 0))

    def cut(self) -> None:
        """End the connection, now."""
        self.close_connection = True
        with contextlib.suppress(OSError):
            self.connection.shutdown(socket.SHUT_RDWR)

    def wait(self) -> None:
        """Say nothing until the test is over."""
        self.server.faults.ended.wait(60)
        self.close_connection = True


class _Server(ThreadingHTTPServer):
    daemon_threads = False
    request_queue_size = 128
    faults: WebFaults

    def finish_request(self, request: Any, client_address: Any) -> None:
        with contextlib.suppress(OSError):  # a client that has gone away is what is tested
            if self.faults.context is not None:
                request = self.faults.context.wrap_socket(request, server_side=True)
            self.faults.opened(request)
            try:
                super().finish_request(request, client_address)
            finally:
                self.faults.closed()

    def handle_error(self, request: Any, client_address: Any) -> None:
        self.faults.errors.append(repr(request))


class WebFaults:
    """The server. `requests` are those that came, in order; `connections` is how many connections were made, and
    `open_connections` how many there are now."""

    def __init__(self, context: ssl.SSLContext | None = None) -> None:
        self.context = context
        self.ended = threading.Event()
        self.requests: list[Request] = []
        self.errors: list[str] = []
        self.connections = self.open_connections = 0
        self._lock = threading.Lock()  # guards the lists, the count, _acts and _sockets
        self._acts: dict[str, list[Act]] = {}
        self._sockets: list[Any] = []
        self._server = _Server(("127.0.0.1", 0), Handler)
        self._server.faults = self
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), name="web-faults")

    @property
    def port(self) -> int:
        return int(self._server.server_address[1])

    def url(self, target: str, host: str = "127.0.0.1", user: str = "") -> str:
        return f"{'http' if self.context is None else 'https'}://{user}{host}:{self.port}{target}"

    def plan(self, target: str, *acts: Act) -> None:
        """What to do for a request line's target: one act a request, the last one for all that follow."""
        self._acts[target] = list(acts)

    def act_for(self, request: Request) -> Act:
        with self._lock:
            self.requests.append(request)
            acts = self._acts.get(request.target) or self._acts.get("*") or [gives(b"not planned", 404)]
            return acts.pop(0) if len(acts) > 1 else acts[0]

    def opened(self, connection: Any) -> None:
        with self._lock:
            self.connections += 1
            self.open_connections += 1
            self._sockets.append(connection)

    def closed(self) -> None:
        with self._lock:
            self.open_connections -= 1

    def cut_all(self) -> None:
        """End all connections."""
        with self._lock:
            sockets, self._sockets = self._sockets, []
        for connection in sockets:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def __enter__(self) -> WebFaults:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.ended.set()
        self._server.shutdown()
        self.cut_all()
        self._thread.join()
        self._server.server_close()  # waits for the threads of all connections


def gives(body: bytes = b"", status: int = 200, **headers: object) -> Act:
    """An answer that is complete, if the headers do not say otherwise."""

    def act(handler: Handler) -> None:
        handler.body()
        handler.head(status, **{"Content_Length": len(body), **headers})
        handler.wfile.write(body)
        if headers.get("Content_Length", len(body)) != len(body):
            handler.cut()

    return act


def serves(body: bytes, tag: str | None = '"one"', cut_after: int | None = None, **headers: Any) -> Act:
    """A file, or the part of it that is asked for; cut after so many bytes of it."""

    def act(handler: Handler) -> None:
        asked = re.fullmatch(r"bytes=(\d+)-", handler.headers.get("Range") or "")
        first, status, where = 0, 200, {}
        if asked is not None and handler.headers.get("If-Range", tag) == tag:
            first, status = int(asked[1]), 206
            where = {"Content_Range": f"bytes {first}-{len(body) - 1}/{len(body)}"}
        part = body[first:]
        handler.head(status, **{"ETag": tag, "Content_Length": len(part), **where, **headers})
        handler.wfile.write(part if cut_after is None else part[:cut_after])
        if cut_after is not None:
            handler.cut()

    return act


def chunked(*chunks: bytes, is_whole: bool = True) -> Act:
    """A body of which nobody knows the length before its end."""

    def act(handler: Handler) -> None:
        handler.head(200, Transfer_Encoding="chunked")
        for chunk in chunks:
            handler.wfile.write(b"%x\r\n%s\r\n" % (len(chunk), chunk))
        if is_whole:
            handler.wfile.write(b"0\r\n\r\n")
        else:
            handler.cut()

    return act


def falls_silent(body: bytes = b"", status: int | None = 200) -> Act:
    """Sends the beginning of a file and then nothing; status None: nothing at all."""

    def act(handler: Handler) -> None:
        if status is not None:
            handler.head(status, Content_Length=len(body) + 1000)
            handler.wfile.write(body)
        handler.wait()

    return act


def trickles(handler: Handler) -> None:
    """A byte now and then, and never an end."""
    handler.head(200, Content_Length=1_000_000)
    while not handler.server.faults.ended.wait(0.02):
        handler.wfile.write(b".")


def hangs_up(handler: Handler) -> None:
    """Without a word."""
    handler.cut()


def takes(into: list[bytes], status: int = 201) -> Act:
    """An upload."""

    def act(handler: Handler) -> None:
        into.append(handler.body())
        handler.head(status, Content_Length=0)

    return act


def sends_on(location: str, status: int = 302) -> Act:
    def act(handler: Handler) -> None:
        handler.body()
        handler.head(status, Location=location, Content_Length=0)

    return act


def tunnels(handler: Handler) -> None:
    """What a proxy does for CONNECT."""
    host, _, port = handler.path.rpartition(":")
    with socket.create_connection((host, int(port)), 10) as there:
        handler.head(200)
        handler.server.faults.opened(there)
        back = threading.Thread(target=_relay, args=(there, handler.connection), name="web-faults-tunnel")
        back.start()
        _relay(handler.connection, there)
        back.join()
    handler.close_connection = True


def _relay(source: Any, target: Any) -> None:
    with contextlib.suppress(OSError):
        while piece := source.recv(1 << 16):
            target.sendall(piece)
    for end in (source, target):
        with contextlib.suppress(OSError):
            end.shutdown(socket.SHUT_RDWR)
