"""A manager's way to the interchange: one connection after another, and what must arrive in spite of that.

    Manager --keep--> kept messages --connection 1, 2, ...--> interchange;  <--Taken--

A connection that ends takes with it what was under way, in both directions, and nobody knows what that was. zmq
would connect again and say nothing, so that is switched off. Instead each new connection has a name of its own, and
begins with who we are and what we hold. Then come, again, all messages that the interchange has not said to be with
the client: it may have been another interchange that got them. What was given back does not: nobody here holds it any
more, and if it did not arrive the broker finds that out from what we say that we hold.

Of some ends nobody tells: a route or a firewall begins to drop what is sent. So a connection that is silent for too
long is doubted. All addresses are tried then, and the first that is proven takes its place, unless it speaks before.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from struct import unpack
from time import monotonic
from typing import Any, Protocol

import zmq

from parsl_pool.errors import BadMessage
from parsl_pool.interchange import columns, curve, lent, pieces, wire
from parsl_pool.interchange.loop import Loop
from parsl_pool.interchange.object_records import OBJECT_RECORDS
from parsl_pool.interchange.race import DOWN, Attempt, Race
from parsl_pool.interchange.task_messages import TaskMessage

_AGAIN_S = 0.05
_AGAIN_MOST_S = 1.0
_LINGER_MS = 1000
_LARGE = 1 << 26  # bytes of results that travel together: a message has a limit

# What says how things are now. All else is kept.
_PASSING = {
    wire.KIND[cls]
    for cls in (wire.Register, wire.Ping, wire.Pong, wire.Window, wire.Stop, wire.Unfit, *OBJECT_RECORDS)
}

_GIVEN_BACK = (wire.TASKS, wire.ASKING)


def _nothing() -> None:
    """Nobody waits for this to be delivered."""


def is_kept(kind: int) -> bool:
    """True if a manager's message of this kind is sent until the client has it; both sides count these."""
    return kind not in _PASSING


class Owner(Protocol):
    """What an uplink asks of the manager that it belongs to."""

    def find(self) -> curve.Ticket:
        """Where is the interchange? Asked for each connection."""

    def connected(self, address: str, troubles: dict[str, str]) -> None:
        """There is a connection, to this address; troubles: what became of the others that were tried."""

    def greet(self, kept: list[int]) -> None:
        """There is a connection. Send what is to come first; `kept`: tasks whose results will come again."""

    def receive(self, kind: int, body: bytes, names: list[lent.Name]) -> None:
        """A message has come, and names of the memory that comes with it. Raises BadMessage."""

    def dropped(self, reason: str) -> None:
        """A message has come that was none."""

    def copied(self) -> None:
        """All results that were sent are kept here now."""

    def delivered(self) -> None:
        """The client has everything that was to arrive."""


class Uplink:
    """Sends a manager's messages, and brings those for it. Belongs to the manager's loop.

    context: of zmq, if there is one already, which is not ended here.
    """

    def __init__(self, loop: Loop, name: str, owner: Owner, context: zmq.Context[Any] | None = None) -> None:
        self._loop, self._name, self._owner = loop, name, owner
        self._results: list[columns.Results] = []  # of this turn: they travel as one message
        # Messages, the ids of the tasks whose results they are, descriptors of memory that they lend, and what is to be
        # called once the client has them.
        self._kept: deque[tuple[bytes, bytes, list[int], Callable[[], None]]] = deque()
        self._taken = 0  # how many of this connection's kept messages are kept no more
        self._pause_s = _AGAIN_S
        self._race = Race(loop, name, owner.find, self._begin, context)
        self._line: Attempt | None = None  # the connection
        self._is_up = False
        self._is_closed = False
        self._begun_at = 0.0  # when there was this connection
        self._doubted_since = 0.0  # when the race that is on was begun, if there is a connection; else 0
        self.heard = monotonic()
        self.has_been_up = False
        self._trouble = ""  # why the last connection is no more
        loop.after_reads.append(self.serve)
        self._race.begin()

    # -- connections

    @property
    def troubles(self) -> dict[str, str]:
        """What became of the addresses that were tried, as long as there is no connection."""
        return self._race.troubles

    @property
    def trouble(self) -> str:
        """Why there is no connection, in a line; "" if there is one, or nothing is known."""
        if self._is_up:
            return ""
        told = self._race.troubles
        if len(told) > 1:
            return ", ".join(f"{address}: {trouble}" for address, trouble in told.items())
        return "".join(told.values()) or self._trouble

    def _connect(self) -> None:
        if not self._is_closed and self._line is None and not self._race.is_on:
            self._race.begin()

    def doubt(self, silent_s: float) -> bool:
        """Look for another connection if nothing has come by this one for so long. True if that begins now."""
        self.serve()  # it may only not have been read
        now = monotonic()
        if self._line is None or self._race.is_on or now - max(self.heard, self._begun_at) < silent_s:
            return False
        self._doubted_since = now
        self._race.begin(is_doubted=True)
        return True

    def renew(self) -> None:
        """Give this connection up, and begin another one."""
        if self._line is None:
            return
        self._disconnect()
        self._loop.call_at(monotonic() + self._pause_s, self._connect)
        self._pause_s = min(2 * self._pause_s, _AGAIN_MOST_S)

    def _disconnect(self) -> None:
        line, self._line, self._is_up = self._line, None, False
        self._doubted_since = 0.0  # whatever is tried is needed now
        assert line is not None
        line.close()

    def _look(self) -> None:
        """What has become of the connection?"""
        while self._line is not None and (event := self._line.event()):
            if event in DOWN:
                self._trouble = DOWN[event]
                self._read()
                self.renew()

    def _begin(self, line: Attempt) -> None:
        """This one is proven."""
        self._flush()
        if self._line is not None:
            self._disconnect()  # that was doubted; what is on its way there comes again
        self._line = line
        self._outgoing, self._incoming = pieces.Outgoing(), pieces.Incoming()
        line.listen(self.serve)
        self._is_up = self.has_been_up = True
        self._pause_s = _AGAIN_S
        self._begun_at = monotonic()
        self._taken = 0
        self._owner.connected(line.address, self._race.troubles)
        # To give the same back twice would have it run twice: it may be with another manager by now.
        self._kept = deque(entry for entry in self._kept if entry[0][0] not in _GIVEN_BACK)
        self._owner.greet([task for _, ids, *_ in self._kept for task in unpack(f"<{len(ids) // 8}Q", ids)])
        for data, *_ in self._kept:
            self._put(data)

    # -- messages

    def send(self, record: wire.Record) -> None:
        """Send this, or, if it is to be kept, see that it arrives."""
        self._flush()
        kind = wire.KIND[type(record)]
        data = bytes((kind, 0)) + wire.encode(record)
        if is_kept(kind):
            self._kept.append((data, b"", [], _nothing))
        self._put(data)

    def send_results(self, results: columns.Results) -> None:
        """See that these arrive. They are read at the end of this turn."""
        self._results.append(results)

    def send_shared(self, results: columns.Results) -> None:
        """See that this one arrives; it is in memory of this host, which the interchange can open."""
        self._flush()
        descriptors = results.descriptors or []
        data = lent.message(wire.RESULTS, results.encode(), descriptors)
        self._kept.append((data, results.ids, descriptors, _nothing))
        self._put(data)

    def send_back(self, tasks: columns.Tasks) -> None:
        """Give these tasks back to the broker. We have not delivered everything until it has them."""
        self._flush()
        kind, body = tasks.message()
        data = bytes((kind, 0)) + body
        self._kept.append((data, tasks.ids, [], _nothing))
        self._put(data)

    def has_delivered(self) -> bool:
        """True if the client has everything that was to arrive, and there is a connection."""
        return self._is_up and not self._kept and not self._results

    def send_message(self, message: TaskMessage) -> None:
        """See that this arrives, before the results that come after it."""
        self._flush()
        kind, descriptors = wire.KIND[wire.FromTask], message.descriptors or []
        data = lent.message(kind, wire.encode(message.record), descriptors)
        self._kept.append((data, b"", descriptors, message.delivered))
        self._put(data)

    def _flush(self) -> None:
        results, self._results = self._results, []
        if not results:
            return
        while results:
            size, count = 0, 0
            while count < len(results) and (not count or size + len(results[count].records) < _LARGE):
                size += len(results[count].records)
                count += 1
            self._send_merged(results[:count])
            del results[:count]
        self._owner.copied()

    def _send_merged(self, results: list[columns.Results]) -> None:
        ids = b"".join([part.ids for part in results])
        merged = columns.Results(len(ids) // 8, ids, b"".join([part.records for part in results]))
        data = bytes((wire.RESULTS, 0)) + merged.encode()
        self._kept.append((data, ids, [], _nothing))
        self._put(data)

    def _put(self, data: bytes) -> None:
        if self._is_up and self._line is not None:
            try:
                self._outgoing.send(self._line.socket, data, zmq.NOBLOCK)
            except zmq.Again:
                self._is_up = False  # it has just ended, as we shall be told

    def serve(self) -> None:
        """Send what there is, then take what has come: zmq must be asked for that after everything else."""
        self._flush()
        self._read()
        self._look()
        if self._race.under_way or self._race.late:
            if self._doubted_since and self.heard > self._doubted_since:
                self._doubted_since = 0.0
                self._race.call_off()
            self._race.look()

    def _read(self) -> None:
        while self._line is not None and self._line.socket.getsockopt(zmq.EVENTS) & zmq.POLLIN:
            parts = self._line.socket.recv_multipart()
            self.heard = monotonic()
            try:
                data = self._incoming.message(parts, accept_unnumbered=True)
                if data is None:
                    continue
                self._message(*lent.split(data))
            except BadMessage as problem:
                self._owner.dropped(str(problem))
                if isinstance(problem, pieces.Missing):
                    self.renew()
            self._flush()

    def _message(self, kind: int, body: bytes, names: list[lent.Name]) -> None:
        if kind != wire.KIND[wire.Taken]:
            self._owner.receive(kind, body, names)
            return
        record = wire.decode(kind, body)
        assert isinstance(record, wire.Taken)
        self._let_go(record.messages)

    def _let_go(self, messages: int) -> None:
        while self._taken < messages and self._kept:
            _, _, descriptors, delivered = self._kept.popleft()
            lent.close(descriptors)
            delivered()
            self._taken += 1
        if not self._kept:
            self._owner.delivered()

    def close(self) -> None:
        """Send the rest, if anybody is there, and end."""
        self._flush()
        self._is_closed = True
        if self._line is not None:
            if self._is_up:
                self._line.socket.linger = _LINGER_MS
            self._disconnect()
        self._race.end()

    def drop(self) -> None:
        """End without a word."""
        self._is_closed = True
        if self._line is not None:
            self._disconnect()
        self._race.end()
