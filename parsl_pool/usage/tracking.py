"""Sends the messages of one pool, if its user wants that, to where the user says.

    Tracking -- a datagram --> the address, if it is one
             -- a thread that asks for the address of a name, once, and sends what has waited for that -->

Nothing here may delay a program, or fail it: datagrams are sent without waiting, and what can't be sent is dropped.
"""

from __future__ import annotations

import os
import socket
import threading
import time
import uuid
from collections.abc import Callable, Iterable
from typing import Any

from parsl_pool.loggers import careful_logger
from parsl_pool.usage import messages

log = careful_logger("parsl_pool.usage")

_live: set[Tracking] = set()  # a pool may be dropped; its end is told all the same


class Sender:
    """Sends datagrams to one host."""

    def __init__(self, host: str, port: int) -> None:
        """Begin. A host's name is looked up in a thread: that can take minutes where the network is broken."""
        self._where = host, port
        self._lock = threading.Lock()  # guards what follows
        self._target: tuple[int, Any] | None = None  # family and address, once known
        self._waiting: list[bytes] | None = []  # for that; None: it can't be had
        try:
            self._look_up(socket.AI_NUMERICHOST)
        except (OSError, ValueError):  # no number: a name
            threading.Thread(target=self._find, name="parsl-pool-usage", daemon=True).start()

    def send(self, data: bytes) -> None:
        """Send it, now or as soon as it is known where to."""
        with self._lock:
            target = self._target
            if target is None:
                if self._waiting is not None:
                    self._waiting.append(data)
                return
        _send_to(target, data)

    def _look_up(self, flags: int) -> None:
        family, _, _, _, address = socket.getaddrinfo(*self._where, type=socket.SOCK_DGRAM, flags=flags)[0]
        with self._lock:
            waiting, self._waiting = self._waiting, None
            self._target = family, address
        for data in waiting or ():
            _send_to(self._target, data)

    def _find(self) -> None:
        try:
            self._look_up(0)
        except (OSError, ValueError) as problem:  # ValueError: a name that can't be one
            with self._lock:
                self._waiting = None
            log.info("usage tracking sends nothing: %s has no address: %s", self._where[0], problem)


def _send_to(target: tuple[int, Any], data: bytes) -> None:
    family, address = target
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as sock:
            sock.setblocking(False)
            sock.sendto(data, address)
    except OSError as problem:  # no route, no room in the buffers
        log.info("a usage message could not be sent to %s: %s", address[0], problem)


class Tracking:
    """The messages of one pool."""

    def __init__(
        self,
        level: int,
        project_name: str | None,
        address: str | None,
        executors: Iterable[Any],
        counts: Callable[[], tuple[int, int]],
    ) -> None:
        """Send the first.

        Args:
            level: 1 to 3.
            address: "host:port"; None: nothing is sent.
            executors: what the pool is made of. More may be added to it.
            counts: how many tasks have ended, and how many of them failed.
        """
        self._pid = os.getpid()
        self._executors, self._counts = executors, counts
        self._sender: Sender | None = None
        components = messages.components_of(executors)
        self._run = messages.Run(str(uuid.uuid4()), level, project_name, components, time.time())
        if address is None:
            log.warning(
                "usage tracking is on, and sends nothing: give a Config usage_address=\"host:port\", or set "
                "PARSL_TRACKING_ADDRESS"
            )
            return
        host, _, port = address.rpartition(":")
        self._address = address
        self._sender = Sender(host.strip("[]"), int(port))
        self._send(self._run.start_message())
        _live.add(self)

    def _send(self, message: dict[str, Any]) -> None:
        data = messages.encoded(message)
        log.info("usage message to %s: %s", self._address, data.decode())
        assert self._sender is not None
        self._sender.send(data)

    def ended(self) -> None:
        """The pool has ended: send what is sent then. Only the first call does anything."""
        if self not in _live or os.getpid() != self._pid:  # a forked child's copy of a pool is no run
            return
        _live.discard(self)
        try:
            message = self._run.end_message(time.time(), *self._counts())
            if message is not None:
                self._send(message)
        except Exception:  # logged; the program has nothing to do with it
            log.exception("the last usage message was not sent")

    # -- what the exit hook calls

    def begin_exit(self, kill: bool) -> None:
        """The executors are told by themselves."""

    def begin_shutdown(self, kill: bool) -> None:
        """As above."""

    def join(self) -> bool:
        """The interpreter ends: so does the pool."""
        if self in _live:
            for executor in self._executors:
                executor.join()
        self.ended()
        return True


def begin(
    level: int, project_name: str | None, address: str | None, executors: Iterable[Any],
    counts: Callable[[], tuple[int, int]],
) -> Tracking | None:  # fmt: skip
    """Track a pool. None: that can't be done; the log says why."""
    try:
        return Tracking(level, project_name, address, executors, counts)
    except Exception:  # as above: no thread can be started, say
        log.exception("usage tracking does not work")
        return None
