"""Which thread uses the socket to the interchange: the I/O thread, or the one that waits for the only task.

    usually:    submit --outbox--> I/O thread --> interchange --> I/O thread --> whoever waits
    lone call:  submit, result() --------------> interchange --------------> result()

Handing a task to the I/O thread and its result back takes two changes of threads, a third of a small call's time.
So when calls come one by one, the I/O thread naps, and a thread in `result()` *leads*: it sends the task itself,
waits for the socket, and takes the result. A leader does the plainest of things only; all else it leaves to the
I/O thread, which it wakes.

A leader may be the main thread, where a signal's handler may raise between any two steps. So each step of a leader
is one call into C, or can be done again: what was received is in `_arrived` before anything else happens, a task
stays in the outbox until `_flight` says that it is sent, and `Tries.lone_result` may be broken off anywhere.
"""

from __future__ import annotations

import select
import threading
from collections import deque
from time import monotonic
from typing import Any, NamedTuple

from parsl_pool.executors.high_throughput.tries import lone_frame
from parsl_pool.futures import OVER, AppFuture
from parsl_pool.interchange.stream import ANCILLARY, Stream

_LONE_CALLS = 3
"""So many calls in a row, each alone, and the next is led by its caller."""

_TICK_S = 0.001
_GRACE_S = 0.0002
_NAP_S = 0.02
_LEAD_S = 0.005
_RECEIVE = 1 << 14

# A leader holds the token for microseconds, except when a signal's handler runs meanwhile; and that may wait for us.
_PATIENCE_S = 0.1
_PATIENCE = 5


class _Flight(NamedTuple):
    """A task that a leader sends."""

    future: AppFuture[Any]
    frame: bytes
    sent: list[int]  # how many bytes, once send() has returned


class Pump:
    """Decides who turns, for one link. The I/O thread calls `hold` and `nap`, threads that wait call `wait`."""

    def __init__(self, link: Any) -> None:
        self._link = link
        # Held by whoever uses the stream, while it does. Replaced if its holder is held up: see `hold`.
        self._token = threading.Lock()
        self._held: threading.Lock | None = None  # by the I/O thread
        self._depth = 0
        self._arrived: deque[tuple[bytes, list[Any], int, Any]] = deque()
        self._flight: _Flight | None = None
        self._leads = 0  # how often anybody has led
        self._leads_until = 0.0  # somebody does, until then at most
        self._lone = 0
        self._nap_wanted = False
        self.napping = False
        self._bell = threading.Lock()  # released to end a nap
        self._bell.acquire()
        self._stream: Stream | None = None

    def use(self, stream: Stream) -> None:
        """This is the connection from now on."""
        self._arrived.clear()
        self._flight = None
        self._stream = stream
        self._poller = select.poll()
        self._poller.register(stream.fileno(), select.POLLIN)

    # -- the I/O thread

    def __enter__(self) -> bool:
        """Keep leaders out, and take over what they left. True if something is to be received.

        Entered again by a turn inside a callback.
        """
        self._depth += 1
        if self._depth > 1:
            return False
        token, patience = self._token, _PATIENCE
        while not token.acquire(timeout=_PATIENCE_S):
            patience -= 1
            if not patience:  # the old token is void: a leader looks whether its own is still the one
                self._token = token = threading.Lock()
        self._held = token
        return self._take_over()

    def __exit__(self, *_: object) -> None:
        self._depth -= 1
        if not self._depth and self._held is not None:
            self._held.release()

    def _take_over(self) -> bool:
        link, stream, flight = self._link, self._stream, self._flight
        assert stream is not None
        if flight is not None:
            self._flight = None
            if flight.sent:
                if link.outbox and link.outbox[0] is flight.future:
                    link.outbox.popleft()
                if flight.sent[0] < len(flight.frame):
                    stream.put(flight.frame[flight.sent[0] :])
        if not self._arrived:
            return False
        while self._arrived:
            stream.feed(*self._arrived.popleft()[:3])
        return True

    def nap(self) -> bool:
        """Sleep as long as callers lead, if they do. True if there may be something to do since."""
        link = self._link
        if not self._nap_wanted or link.tries.table or link.outbox:
            return False
        self._nap_wanted = False
        self.napping = True
        if link.called != link.turn:  # else somebody has just called us
            link.called = link.turn  # nobody needs to do so for a task: the caller leads, or we look soon
            self._sleep()
        self.napping = False
        return True

    def _sleep(self) -> None:
        link = self._link
        leads, until, pause = self._leads, monotonic() + _NAP_S, _TICK_S
        while not self._bell.acquire(timeout=pause):
            now = monotonic()
            is_led = now < self._leads_until
            if link.outbox or (link.tries.table and not is_led):
                if pause == _GRACE_S and leads == self._leads:  # nobody has come for this task
                    self._lone = -_LONE_CALLS
                    return
                leads, pause = self._leads, _GRACE_S
                continue
            pause = _TICK_S
            if is_led or leads != self._leads:
                leads, until = self._leads, now + _NAP_S
            elif now >= until:
                return

    def rouse(self) -> None:
        """End the nap. Any thread."""
        try:
            self._bell.release()
        except RuntimeError:
            pass  # somebody else has

    # -- threads that wait

    def wait(self, future: AppFuture[Any], deadline: float | None) -> bool:
        """Lead if this thread may. True if the future is done; if not, the I/O thread will see to it."""
        table = self._link.tries.table
        if len(table) == 1 and future._tid in table:
            if self.napping and not self._leads_until:
                self._lead(future, deadline)
            else:
                self._lone += 1
                self._nap_wanted = self._lone >= _LONE_CALLS
        else:
            self._lone = 0
            if self.napping:
                self.rouse()
        return future._state in OVER

    def _lead(self, future: AppFuture[Any], deadline: float | None) -> None:
        end = monotonic() + _LEAD_S
        if deadline is not None and deadline < end:
            end = deadline
        try:
            self._leads_until = end
            goes_on = self._step(self._send)
            while goes_on:
                left = end - monotonic()
                if left <= 0:
                    break
                try:
                    self._poller.poll(left * 1000)
                except RuntimeError:
                    break  # another thread leads
                goes_on = self._step(self._receive) and future._state not in OVER
        finally:
            self._leads_until = 0.0
            self._leads += 1
            if self._link.tries.table or self._link.outbox or future._state not in OVER:
                self._lone = 0
                self._link.wake()

    def _step(self, act: Any) -> bool:
        """Do it with the token. False if leading is over: what is to be done is for the I/O thread."""
        token = self._token
        held: list[bool] = []
        try:
            held.extend(map(token.acquire, (False,)))  # in C: whatever is raised here, `held` tells the truth
            return held[0] and bool(act(token))
        except OSError:
            return False  # the I/O thread will meet it too
        finally:
            if held and held[0]:
                token.release()

    # A token is void if the I/O thread has lost patience. It can't be replaced between a look at it and the next
    # call: threads and signals only come in at calls and at jumps back. So `if self._token is token` comes last.

    def _send(self, token: threading.Lock) -> bool:
        link, stream = self._link, self._stream
        outbox = link.outbox
        if not outbox:
            return True  # the I/O thread has sent it
        if len(outbox) > 1 or self._flight is not None or stream is None or stream.wants_write:
            return False
        if not link.outgoing.is_plain():
            return False
        future = outbox[0]
        frame = lone_frame(future)
        if frame is None:
            return False
        sent: list[int] = []
        sending = map(stream.sock.send, (frame,))
        if self._token is token:
            self._flight = _Flight(future, frame, sent)
        if self._token is token:
            sent.extend(sending)
        if self._token is token:
            outbox.popleft()
        if self._token is token and sent[0] == len(frame):
            self._flight = None
            return True
        return False

    def _receive(self, token: threading.Lock) -> bool:
        stream, arrived = self._stream, self._arrived
        if stream is None or arrived or not stream.is_between_frames():
            return False
        receiving = map(stream.sock.recvmsg, (_RECEIVE,), (ANCILLARY,))
        try:
            if self._token is token:
                arrived.extend(receiving)
        except BlockingIOError:
            return True
        if self._token is not token:
            return False
        data, ancillary, flags, _ = arrived[0]
        if ancillary or flags or not self._link.tries.lone_result(data):
            return False
        if self._token is token:
            arrived.popleft()
        return True
