"""`Mover`: the one thread that talks to Globus, as long as there are files under way."""

from __future__ import annotations

import os
import threading
from concurrent.futures import Future
from queue import Empty, SimpleQueue
from time import monotonic
from typing import Any
from weakref import WeakSet

from parsl_pool.errors import StagingError
from parsl_pool.staging.globus.moves import PACE, Move, log
from parsl_pool.staging.globus.service import Place, Refused, Service

_movers: WeakSet[Mover] = WeakSet()


class Mover:
    """Begins transfers, and tells their futures what becomes of them. Safe for any thread.

    Its thread is started when it is needed, and ends when nothing is under way.
    """

    def __init__(self) -> None:
        self.reset()
        _movers.add(self)

    def reset(self) -> None:
        """Forget what is under way: in a forked child, it is the parent's."""
        self._lock = threading.Lock()  # guards _thread, and that it reads what is in the inbox
        self._thread: threading.Thread | None = None
        self._inbox: SimpleQueue[Move | None] = SimpleQueue()

    def begin(self, move: Move) -> None:
        """Bring this file."""
        self._tell(move)
        move.future.add_done_callback(self._perhaps_cancelled)

    def _perhaps_cancelled(self, future: Future[Any]) -> None:
        if future.cancelled():
            with self._lock:
                if self._thread is not None:  # else it has been told before
                    self._inbox.put(None)

    def _tell(self, move: Move) -> None:
        with self._lock:
            if self._thread is None:
                thread = threading.Thread(target=self._run, name="parsl-pool-globus")
                thread.start()  # it waits for the lock; where it can't be started, the next one may
                self._thread = thread
            self._inbox.put(move)

    # -- in the thread

    def _run(self) -> None:
        talk = _Talk()
        moves: list[Move] = []  # this thread's alone
        try:
            while moves or not self._is_idle():
                moves += self._new(moves)
                _round(moves, talk)
                moves = [move for move in moves if not move.is_over]
        finally:
            talk.close()

    def _is_idle(self) -> bool:
        """True if the thread may end: who tells it of something from now on starts another."""
        with self._lock:
            if not self._inbox.empty():
                return False
            self._thread = None
            return True

    def _new(self, moves: list[Move]) -> list[Move]:
        """What has come, when it is time to do something."""
        wait_s = max(0.0, min(move.due for move in moves) - monotonic()) if moves else None
        came: list[Move | None] = []
        try:
            came.append(self._inbox.get(timeout=wait_s))
            while True:
                came.append(self._inbox.get_nowait())
        except Empty:
            return [move for move in came if move is not None]


def _round(moves: list[Move], talk: _Talk) -> None:
    """Do what is to be done now, the oldest first."""
    talk.new_round()
    before: dict[Place, Move] = {}  # by what is written: the first for that which is not over
    now = monotonic()  # one for all: what has no answer is asked for again together
    has_begun = sum(move.has_begun for move in moves)
    for move in moves:
        earlier = before.setdefault(move.target, move)
        if earlier is not move and not move.future.cancelled():
            move.wait_for(earlier)  # which may have been cancelled, and Globus may not know that yet
        elif move.is_due(now):
            if not move.has_begun and has_begun >= PACE.at_once and not move.future.cancelled():
                move.wait_for(next(each for each in moves if each.has_begun))
                continue
            has_begun -= move.has_begun
            _step(move, talk, now)
            has_begun += move.has_begun
        if move.is_over and earlier is move:
            del before[move.target]


def _step(move: Move, talk: _Talk, now: float) -> None:
    try:
        move.step(talk.service, now)
    except Exception as error:  # of ours, or of the SDK's: who waits for the file sees it
        log.exception("an error while %s is brought by Globus", move.url)
        move.fail_by(error)


class _Talk:
    """The connection to Globus, made when it is needed; anew, if the user has to log in first."""

    def __init__(self) -> None:
        self._service: Service | None = None

    def service(self) -> Service:
        """It. Raises Refused if there is no login."""
        if self._service is not None and self._service.has_ended:
            self.close()
        if self._service is None:
            try:
                self._service = Service()
            except StagingError as problem:
                raise Refused(str(problem)) from None
        return self._service

    def new_round(self) -> None:
        """All that is due is looked after once."""
        if self._service is not None:
            self._service.new_round()

    def close(self) -> None:
        """Let go of it."""
        service, self._service = self._service, None
        if service is not None:
            service.close()


def _after_fork_in_child() -> None:
    for mover in list(_movers):
        mover.reset()


os.register_at_fork(after_in_child=_after_fork_in_child)
