"""A manager's connection to the interchange while it is being made: all addresses at once, and one of them wins.

    ticket: addresses --> Attempt, Attempt, ...    each on its own: fails, pauses, begins again
                              |
                    the first that is proven (CURVE) becomes the uplink's

A machine has several addresses, and only from a node one can see which of them leads there. Some lead elsewhere: many
nodes have a 192.168.122.1 of their own. So whoever answers must prove to be the interchange before he counts.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from time import monotonic
from typing import Any

import zmq
from zmq.utils.monitor import recv_monitor_message

from parsl_pool.interchange import curve, pieces
from parsl_pool.interchange.loop import Loop

_AGAIN_S = 0.05
_AGAIN_MOST_S = 1.0
_CONNECT_MS = 10_000
_UNACKNOWLEDGED_MS = 10_000  # what we sent has not come to the machine there for so long: the way leads nowhere now
_HEAD_START_S = 1.0

UP = int(zmq.Event.HANDSHAKE_SUCCEEDED)
SILENT = "nobody answers there"
_NO_KEY = "who answers there does not have the interchange's key"
DOWN = {
    int(zmq.Event.CLOSED): SILENT,
    int(zmq.Event.DISCONNECTED): "the connection has ended",
    int(zmq.Event.HANDSHAKE_FAILED_NO_DETAIL): _NO_KEY,
    int(zmq.Event.HANDSHAKE_FAILED_PROTOCOL): _NO_KEY,
    int(zmq.Event.HANDSHAKE_FAILED_AUTH): "the interchange does not know our key",
}


class Attempt:
    """One connection to one address, from the first packet until somebody ends it. Belongs to the loop."""

    def __init__(
        self, loop: Loop, context: zmq.Context[Any], ticket: curve.Ticket, address: str, ipv6: bool, identity: str
    ) -> None:
        """Raises zmq.ZMQError: that is no address, or there are too many open files."""
        self.address = address
        self._loop = loop
        self.socket: Any = context.socket(zmq.DEALER)
        self.monitor: Any = None
        try:
            self.socket.identity = identity.encode()
            self.socket.linger = 0
            self.socket.sndhwm = self.socket.rcvhwm = 0
            self.socket.reconnect_ivl = -1
            self.socket.connect_timeout = self.socket.handshake_ivl = _CONNECT_MS
            self.socket.tcp_maxrt = _UNACKNOWLEDGED_MS
            self.socket.maxmsgsize = pieces.MAX_PART
            self.socket.ipv6 = ipv6
            self.monitor = self.socket.get_monitor_socket(UP | sum(DOWN))
            curve.secure_client(self.socket, ticket)
            self.socket.connect(address)
        except zmq.ZMQError:
            self._end()
            raise

    def listen(self, callback: Callable[[], None]) -> None:
        """Call back when there may be something to read, or something has become of the connection."""
        for part in (self.socket, self.monitor):
            self._loop.remove(part.fd)
            self._loop.add_reader(part.fd, callback)

    def event(self) -> int:
        """What has become of the connection: UP, or one of DOWN; 0 if nothing is new."""
        if self.socket.closed or not self.monitor.getsockopt(zmq.EVENTS) & zmq.POLLIN:
            return 0
        return int(recv_monitor_message(self.monitor)["event"])

    def settled(self) -> int:
        """The same, while nobody reads what comes: zmq's own descriptor would stay readable."""
        self.socket.getsockopt(zmq.EVENTS)
        return self.event()

    def close(self) -> None:
        """End it."""
        if not self.socket.closed:
            for part in (self.socket, self.monitor):
                self._loop.remove(part.fd)
            self._end()

    def _end(self) -> None:
        if self.monitor is not None:
            self.socket.disable_monitor()
            self.monitor.close(0)
        self.socket.close()


class Race:
    """Attempts to reach an interchange, until one is proven. Belongs to the loop.

    Args:
        name: attempts are `name/1`, `name/2`, ...
        find: the ticket, asked for again at each attempt: the interchange may have moved.
        won: called with the one that is proven. It is the caller's from then on.
        context: of zmq; None: one of its own.
    """

    def __init__(
        self, loop: Loop, name: str, find: Callable[[], curve.Ticket], won: Callable[[Attempt], None],
        context: zmq.Context[Any] | None = None,
    ) -> None:  # fmt: skip
        self._loop, self._name, self._find, self._won = loop, name, find, won
        self._context: zmq.Context[Any] = zmq.Context(1) if context is None else context
        self._owns_context = context is None
        self._count = 0
        self._number = 0  # of this race; a timer of another one does nothing
        self._is_on = False
        self._pauses: dict[tuple[str, bool], float] = {}  # before the next attempt, of those that had one
        self.under_way: dict[tuple[str, bool], Attempt] = {}
        self.late: set[Attempt] = set()  # under way when another one won
        self._favourite = ""  # that won the last time
        self.troubles: dict[str, str] = {}
        """What became of the addresses that were tried and did not win."""

    @property
    def is_on(self) -> bool:
        """True from its begin until one has won, or it was called off."""
        return self._is_on

    def begin(self, is_doubted: bool = False) -> None:
        """Try all addresses; the one that won before has a start of a second, unless that one is doubted."""
        self._number += 1
        self._is_on = True
        self._pauses.clear()
        self.troubles.clear()
        race = self._number
        addresses = self._find().addresses
        if len(addresses) > 1 and self._favourite in addresses and not is_doubted:
            self._try_address(self._favourite)
            self._loop.call_at(monotonic() + _HEAD_START_S, lambda: self._try_new(race))
        else:
            self._try_new(race)

    def _try_new(self, race: int) -> None:
        """Begin with each address that was not tried yet."""
        if self._is_on and race == self._number:
            for address in self._find().addresses:
                if not any((address, ipv6) in self._pauses for ipv6 in (True, False)):
                    self._try_address(address)

    def _try_address(self, address: str) -> None:
        for ipv6 in _families(address):
            self._try((address, ipv6))

    def _try(self, way: tuple[str, bool]) -> None:
        self._count += 1
        address, ipv6 = way
        self._pauses.setdefault(way, _AGAIN_S)
        try:
            attempt = Attempt(
                self._loop, self._context, self._find(), address, ipv6, f"{self._name}/{self._count}"
            )
        except zmq.ZMQError as problem:
            self._fail(way, str(problem))
            return
        self.under_way[way] = attempt
        attempt.listen(self.look)
        # Of a name that can't be resolved zmq says nothing.
        self._loop.call_at(monotonic() + _CONNECT_MS / 1000 + 1, lambda: self._too_late(way, attempt))

    def _too_late(self, way: tuple[str, bool], attempt: Attempt) -> None:
        if self.under_way.get(way) is attempt:
            self._fail(way, SILENT)
        elif attempt in self.late:
            self.late.remove(attempt)
            attempt.close()

    def look(self) -> None:
        """What has become of them? To be called in each turn in which there are any, before the loop sleeps."""
        for attempt in [attempt for attempt in self.late if attempt.settled()]:
            # Not sooner: the interchange would take one that ends within its handshake for a stranger.
            self.late.remove(attempt)
            attempt.close()
        for way, attempt in list(self.under_way.items()):
            event = attempt.settled()
            if event == UP:
                self._win(way)
                return  # the others are late now
            if event in DOWN:
                self._fail(way, DOWN[event])

    def call_off(self) -> None:
        """None is to win: there is no need any more."""
        self._is_on = False
        self.late.update(self.under_way.values())
        self.under_way.clear()

    def _win(self, way: tuple[str, bool]) -> None:
        winner = self.under_way.pop(way)
        for address, _ in self.under_way:
            self.troubles.setdefault(address, "no answer yet")
        self.call_off()
        self._favourite = winner.address
        self.troubles.pop(winner.address, None)
        self._won(winner)

    def _fail(self, way: tuple[str, bool], why: str) -> None:
        self.troubles[way[0]] = why
        attempt = self.under_way.pop(way, None)
        if attempt is not None:
            attempt.close()
        pause, self._pauses[way] = self._pauses[way], min(2 * self._pauses[way], _AGAIN_MOST_S)
        race = self._number
        # Not all managers at the same moment; `random` would be one more module to load.
        self._loop.call_at(monotonic() + pause * (0.5 + os.urandom(1)[0] / 256), lambda: self._again(race, way))

    def _again(self, race: int, way: tuple[str, bool]) -> None:
        if self._is_on and race == self._number:
            if way[0] in self._find().addresses and way not in self.under_way:
                self._try(way)
            self._try_new(race)

    def close(self) -> None:
        """Nobody wants to win any more."""
        self._is_on = False
        for attempt in [*self.under_way.values(), *self.late]:
            attempt.close()
        self.under_way.clear()
        self.late.clear()

    def end(self) -> None:
        """After the last attempt's socket is closed."""
        self.close()
        if self._owns_context:
            self._context.term()


def _families(address: str) -> tuple[bool, ...]:
    """Whether zmq is to use IPv6. A name may stand for addresses of both kinds, and zmq takes only the first of one."""
    if not address.startswith("tcp://"):
        return (False,)
    host = address.removeprefix("tcp://").rpartition(":")[0]
    if host.startswith("["):
        return (True,)
    return (False,) if host.replace(".", "").isdigit() else (False, True)
