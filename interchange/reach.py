"""Who answers at some addresses, and what the network says of the others: all of them are asked at once.

Only a connection is made, and ended: whether it is the right one who answers, CURVE finds out (uplink.py).
"""

from __future__ import annotations

import errno
import os
import select
import socket
from collections.abc import Iterable
from time import monotonic
from typing import Any

_TCP = "tcp://"
SILENT = "no answer"

_MEANINGS = {
    errno.ECONNREFUSED: "nobody listens at that port there, or a firewall refuses",
    errno.EHOSTUNREACH: "it is in a network that can't be reached from here, or a firewall refuses",
    errno.ENETUNREACH: "it is in a network that can't be reached from here",
    errno.EAFNOSUPPORT: "this machine does not use addresses of that kind",
    errno.EADDRNOTAVAIL: "this machine does not use addresses of that kind",
}


def joined(host: str, port: int | str) -> str:
    """As zmq wants it."""
    return f"{_TCP}[{host}]:{port}" if ":" in host else f"{_TCP}{host}:{port}"


def split(address: str) -> tuple[str, int]:
    """The host and the port of tcp://HOST:PORT. Raises ValueError if it is none."""
    host, colon, port = address.removeprefix(_TCP).rpartition(":")
    if not address.startswith(_TCP) or not colon or not host:
        raise ValueError(f"{address!r} is no {_TCP}HOST:PORT")
    return host.strip("[]"), int(port)


def ask(addresses: Iterable[str], within_s: float, until_first: bool = False) -> dict[str, str]:
    """What became of a connection to each of these (tcp://HOST:PORT): "" where one could be made, else why not.

    until_first: wait for no more than one that answers.
    """
    questions = [_Question(address) for address in dict.fromkeys(addresses)]
    end = monotonic() + within_s
    poller = select.poll()
    asked: dict[int, tuple[_Question, socket.socket]] = {}
    try:
        for question in questions:
            for sock in question.begin():
                poller.register(sock, select.POLLOUT)
                asked[sock.fileno()] = question, sock
        while asked and (left := end - monotonic()) > 0:
            if until_first and any(question.is_answered for question in questions):
                break
            for fd, _ in poller.poll(left * 1000):
                question, sock = asked.pop(fd)
                poller.unregister(fd)
                question.heard(sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR))
                sock.close()
    finally:
        for _, sock in asked.values():
            sock.close()
    return {question.address: question.answer(within_s) for question in questions}


class _Question:
    """One address that is asked, which may be a name that stands for several."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.is_answered = False
        self._reasons: list[str] = []
        self._waiting = 0

    def begin(self) -> list[socket.socket]:
        """Sockets that are being connected."""
        sockets: list[socket.socket] = []
        try:
            host, port = split(self.address)
            places = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except (OSError, ValueError) as problem:  # UnicodeError, of a name that can be none, is a ValueError
            self._reasons.append(problem.strerror or str(problem) if isinstance(problem, OSError) else str(problem))
            return []
        for family, kind, protocol, _, place in places:
            try:
                sock = socket.socket(family, kind, protocol)
            except OSError as problem:
                self.heard(problem.errno or 0)
                continue
            sock.setblocking(False)
            if self._connect(sock, place):
                sockets.append(sock)
                self._waiting += 1
            else:
                sock.close()
        return sockets

    def _connect(self, sock: socket.socket, place: Any) -> bool:
        """False if it is over."""
        code = sock.connect_ex(place)
        if code in (0, errno.EINPROGRESS):  # 0: it is told at once by the poller
            return True
        self._waiting += 1
        self.heard(code)
        return False

    def heard(self, code: int) -> None:
        """One of its connections is made, or failed with that error."""
        self._waiting -= 1
        if not code:
            self.is_answered = True
        else:
            meaning = _MEANINGS.get(code)
            self._reasons.append(os.strerror(code) + (f" ({meaning})" if meaning else ""))

    def answer(self, seconds: float) -> str:
        """In words; "" if somebody has answered."""
        if self.is_answered:
            return ""
        if self._waiting > 0:
            self._reasons.append(f"{SILENT} within {seconds:g} s (a firewall drops it, or it leads nowhere from here)")
        return "; ".join(dict.fromkeys(self._reasons))
