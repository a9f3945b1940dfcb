"""Requests to web servers: sent on kept connections, followed where the server sends us on, answered piece by piece."""

from __future__ import annotations

import http.client
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from types import TracebackType
from urllib.parse import urljoin

from parsl_pool._version import __version__
from parsl_pool.errors import ConfigurationError
from parsl_pool.staging.transfers import web_answers
from parsl_pool.staging.transfers.errand import Pace, Passing, Refused
from parsl_pool.staging.transfers.local_files import PIECE, Source
from parsl_pool.staging.transfers.options import Transfer
from parsl_pool.staging.transfers.urls import Url, parsed, shown
from parsl_pool.staging.transfers.web_connections import Connections, End, basic, said

_ELSEWHERE = {301, 302, 303, 307, 308}
_WORDS = 4096  # bytes of a refusal that are read


class Answer:
    """A server's answer, whose body is still to come. The connection is kept if all of it has been read."""

    def __init__(
        self, response: http.client.HTTPResponse, connection: http.client.HTTPConnection, end: End,
        connections: Connections, silence_s: float,
    ) -> None:  # fmt: skip
        self._response, self._connection, self._end, self._connections = response, connection, end, connections
        self._silence_s = silence_s
        self.status, self.headers = response.status, response.headers
        self.length = web_answers.length(response.headers)
        self._is_whole = False
        self.is_sent = True  # whether the server has taken all that was sent to it

    def __enter__(self) -> Answer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, problem: BaseException | None, traceback: TracebackType | None
    ) -> None:
        is_kept = self._is_whole and self.is_sent and not self._response.will_close
        self._response.close()
        if is_kept:
            self._connections.keep(self._end, self._connection)
        else:
            self._connection.close()

    def pieces(self) -> Iterator[bytes]:
        """The body, as it comes. Raises Passing if it ends before its end."""
        left, pace = self.length, Pace(self._silence_s)
        while left is None or left > 0:
            try:
                piece = self._response.read1(PIECE if left is None else min(left, PIECE))
            except (OSError, http.client.HTTPException) as problem:
                raise Passing(f"the connection was cut in the middle: {said(problem)}") from None
            if not piece:
                break
            left = None if left is None else left - len(piece)
            yield piece
            pace.came(len(piece))
        if left:
            raise Passing(f"the connection was cut in the middle: {left} of {self.length} bytes are missing")
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
        return web_answers.words(self.status, self._response.reason, self.headers, body[:_WORDS])

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
            except (ConnectionError, http.client.RemoteDisconnected):
                pass  # the server has ended it since: no fault of this request's
            except (OSError, http.client.HTTPException) as problem:
                raise Passing(f"{end.host}:{end.port} gives no answer: {said(problem)}") from None
        connection = self._connections.new(end)
        try:
            return self._exchange(connection, end, method, url, headers, source)
        except (OSError, http.client.HTTPException) as problem:
            raise Passing(f"{end.host}:{end.port} gives no answer: {said(problem)}") from None

    def _exchange(
        self, connection: http.client.HTTPConnection, end: End, method: str, url: Url, headers: Mapping[str, str],
        source: Source | None,
    ) -> Answer:  # fmt: skip
        try:
            self._send_head(connection, end, method, url, headers, source)
            cut = self._send_body(connection, source) if source is not None else None
            try:
                response = connection.getresponse()
            except (OSError, http.client.HTTPException):
                if cut is not None:
                    raise cut from None
                raise
        except BaseException:  # passed on; in the midst of a request it can serve no other
            connection.close()
            raise
        answer = Answer(response, connection, end, self._connections, self._options.silence)
        answer.is_sent = cut is None
        return answer

    def _send_head(
        self, connection: http.client.HTTPConnection, end: End, method: str, url: Url, headers: Mapping[str, str],
        source: Source | None,
    ) -> None:  # fmt: skip
        place = (url.path or "/") + url.query
        by_proxy = end.proxy is not None and end.scheme == "http"
        connection.putrequest(method, f"http://{url.host_port}{place}" if by_proxy else place,
                              skip_accept_encoding=True)  # fmt: skip
        all_headers = {"User-Agent": f"parsl_pool/{__version__}", "Accept-Encoding": "identity", **headers}
        if url.user is not None:
            all_headers["Authorization"] = basic(f"{url.user}:{url.password or ''}")
        if self._sign is not None:
            all_headers.update(self._sign(method, url, source))
        if by_proxy and end.proxy is not None and end.proxy.authorization:
            all_headers["Proxy-Authorization"] = end.proxy.authorization
        if source is not None:
            all_headers["Content-Length"] = str(source.size)
        for name, value in all_headers.items():
            connection.putheader(name, value)
        connection.endheaders()

    def _send_body(self, connection: http.client.HTTPConnection, source: Source) -> OSError | None:
        """None when all is sent. A server that wants none of it answers, and closes: what it says is read later."""
        for piece in source.pieces():
            try:
                connection.send(piece)
            except OSError as problem:
                return problem
        return None


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
