"""Requests to web servers: sent on kept connections, followed where the server sends us on, answered piece by piece."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from types import TracebackType
from urllib.parse import urljoin

from parsl_pool._version import __version__
from parsl_pool.errors import ConfigurationError
from parsl_pool.staging.transfers import web_answers
from parsl_pool.staging.transfers.errand import Pace, Passing, Refused
from parsl_pool.staging.transfers.local_files import Source
from parsl_pool.staging.transfers.options import Transfer
from parsl_pool.staging.transfers.urls import Url, parsed, shown
from parsl_pool.staging.transfers.web_connections import PORTS, Connections, End, basic, in_ascii, request_of, said
from parsl_pool.staging.transfers.web_heads import Garbled, Head
from parsl_pool.staging.transfers.web_wire import Ended, Wire

_ELSEWHERE = {301, 302, 303, 307, 308}
_WORDS = 4096  # bytes of a refusal that are read
_AGENT = f"User-Agent: parsl_pool/{__version__}"


class Answer:
    """A server's answer, whose body is still to come. The connection is kept if all of it has been read."""

    def __init__(self, head: Head, wire: Wire, end: End, connections: Connections, silence_s: float) -> None:
        self._head, self._wire, self._end, self._connections = head, wire, end, connections
        self._silence_s = silence_s
        self.status, self.headers, self.length = head.status, head.headers, head.length
        self._is_whole = False
        self.is_sent = True  # whether the server has taken all that was sent to it

    def __enter__(self) -> Answer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, problem: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._is_whole and self.is_sent and not self._head.is_last:
            self._connections.keep(self._end, self._wire)
        else:
            self._wire.close()

    def pieces(self) -> Iterator[memoryview]:
        """The body, as it comes; each piece only until the next one. Raises Passing if it ends before its end."""
        came, pace = 0, Pace(self._silence_s)
        try:
            for piece in self._wire.body(self._head):
                came += len(piece)
                yield piece
                pace.came(len(piece))
        except Ended:
            raise Passing("the connection was cut in the middle") from None
        except (OSError, Garbled) as problem:
            raise Passing(f"the connection was cut in the middle: {said(problem)}") from None
        if self.length is not None and came < self.length:
            missing = self.length - came
            raise Passing(f"the connection was cut in the middle: {missing} of {self.length} bytes are missing")
        self._is_whole = True

    def has_no_body(self) -> None:
        """Nothing comes, whatever the headers say of the file's length."""
        self._is_whole = True

    def words(self) -> str:
        """What the server says of why it does not."""
        body = b""
        try:
            for piece in self.pieces():
                body += piece
                if len(body) >= _WORDS:
                    break
        except Passing:
            pass  # the status tells the most
        return web_answers.words(self.status, self._head.reason, self.headers, body[:_WORDS])

    def refusal(self) -> Passing | Refused:
        """The error for an answer that is none."""
        text = f"the server says: {self.words()}"
        if web_answers.is_passing(self.status):
            return Passing(text, web_answers.wait_s(self.headers))
        return Refused(text)


Sign = Callable[[str, Url, Source | None], Mapping[str, str]]
"""Gives the headers that prove who asks, for a method, a URL and what is sent."""


class Requests:
    """Asks web servers, and goes where they send us."""

    def __init__(self, connections: Connections, options: Transfer, sign: Sign | None = None) -> None:
        self._connections, self._options, self._sign = connections, options, sign

    def ask(self, method: str, url: Url, headers: Mapping[str, str], source: Source | None = None) -> Answer:
        """The answer of the server that has it.

        Raises:
            Passing, Refused: there is none.
            TransferFailed: the source can't be read.
        """
        for _ in range(self._options.redirects + 1):
            answer = self._answer(method, url, headers, source)
            location = answer.headers.get("Location")
            if answer.status not in _ELSEWHERE or not location or (method == "PUT" and answer.status == 303):
                return answer
            with answer:
                answer.words()  # to its end, and so the connection can be kept
            url = _sent_on(url, location)
        raise Refused(f"the server sends us on more than {self._options.redirects} times, to {_text(url)} at last")

    def _answer(self, method: str, url: Url, headers: Mapping[str, str], source: Source | None) -> Answer:
        end = self._connections.end_of(url)
        kept = self._connections.kept(end)
        if kept is not None:
            try:
                return self._exchange(kept, end, method, url, headers, source)
            except ConnectionError:
                pass  # the server has ended it since: no fault of this request's
            except (OSError, Garbled) as problem:
                raise _no_answer(end, problem) from None
        wire = self._connections.new(end)
        try:
            return self._exchange(wire, end, method, url, headers, source)
        except (OSError, Garbled) as problem:
            raise _no_answer(end, problem) from None

    def _exchange(
        self, wire: Wire, end: End, method: str, url: Url, headers: Mapping[str, str], source: Source | None
    ) -> Answer:
        try:
            wire.send(self._head(end, method, url, headers, source))
            cut = _send_body(wire, source) if source is not None else None
            try:
                head = wire.head(self._options.silence)
            except (OSError, Garbled):
                if cut is not None:
                    raise cut from None
                raise
        except BaseException:  # passed on; in the midst of a request it can serve no other
            wire.close()
            raise
        answer = Answer(head, wire, end, self._connections, self._options.silence)
        answer.is_sent = cut is None
        return answer

    def _head(self, end: End, method: str, url: Url, headers: Mapping[str, str], source: Source | None) -> bytes:
        place = (url.path or "/") + url.query
        by_proxy = end.proxy if end.scheme == "http" else None
        host = _host(url)
        lines = [f"{method} {f'http://{host}' if by_proxy else ''}{place} HTTP/1.1", f"Host: {host}", _AGENT,
                 "Accept-Encoding: identity"]  # fmt: skip
        lines += [f"{name}: {value}" for name, value in headers.items()]
        if url.user is not None:
            lines.append(f"Authorization: {basic(f'{url.user}:{url.password or str()}')}")
        if self._sign is not None:
            lines += [f"{name}: {value}" for name, value in self._sign(method, url, source).items()]
        if by_proxy is not None and by_proxy.authorization:
            lines.append(f"Proxy-Authorization: {by_proxy.authorization}")
        if source is not None:
            lines.append(f"Content-Length: {source.size}")
        return request_of(lines)


def _send_body(wire: Wire, source: Source) -> OSError | None:
    """None when all is sent. A server that wants none of it answers, and closes: what it says is read later."""
    for piece in source.pieces():
        try:
            wire.send(piece)
        except OSError as problem:
            return problem
    return None


def _no_answer(end: End, problem: Exception) -> Passing:
    return Passing(f"{end.host}:{end.port} gives no answer: {said(problem)}")


def _host(url: Url) -> str:
    """Its name as servers are to be told it. Raises Refused: it can be none."""
    if url.port == PORTS[url.scheme]:
        url = replace(url, port=None)
    if url.host.isascii():
        return url.host_port
    try:
        return replace(url, host=in_ascii(url.host)).host_port
    except UnicodeError as problem:
        raise Refused(f"{url.host} can be no name of a host: {problem}") from None


def _sent_on(url: Url, location: str) -> Url:
    """Where a server sends us. Raises Refused if that is no place to go to."""
    target = location
    try:
        target = urljoin(_text(url), location)
        new = parsed(target, "http", "https")
    except (ConfigurationError, ValueError):
        raise Refused(f"the server sends us on to {shown(target)}, which is no URL of the web") from None
    if url.scheme == "https" and new.scheme != "https":
        raise Refused(f"the server sends us on to {shown(target)}: from https to a scheme without encryption")
    # A password is for the server that it was given for.
    is_same = (new.scheme, new.host, new.port) == (url.scheme, url.host, url.port)
    return replace(new, user=url.user if is_same else None, password=url.password if is_same else None)


def _text(url: Url) -> str:
    return f"{url.scheme}://{url.host_port}{url.path}{url.query}"
