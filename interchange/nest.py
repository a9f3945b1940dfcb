"""The calls that a running task has made: how they get to the client, and their results to whoever waits here.

    submit (any thread of the task) --Call--> client;   whoever waits --reads--> the worker's socket <--Ended-- client

A worker has one thread and one socket. While a task runs nobody reads from that; so those who wait for a call do, one
at a time, and end the futures of all. What comes for the worker itself is put aside for it.

Waiting must not use up workers: whoever waits asks the client for a call of its own that has not begun, and runs that
right here; if there is none, its place is lent to another worker.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable
from itertools import count
from time import monotonic
from typing import Any, NoReturn

from parsl_pool.errors import PoolElsewhere
from parsl_pool.interchange import calls, envelope, own_directory, running_task, serialize, wire, worker
from parsl_pool.interchange.page import TASK
from parsl_pool.interchange.running_task import line_of_worker
from parsl_pool.interchange.worker_connection import StopWork

_DEEPEST = 50
"""Calls run inside calls here. Beyond, others run them: there is an end to an interpreter's stack."""

_AGAIN_S = 2.0
"""Whoever waits says so again after so long: an answer may have got lost, or a call may have become free to run."""

_SLICE_S = 0.1
"""Whoever reads looks so often whether something else has happened."""


class Call:
    """One call that has not ended."""

    __slots__ = ("arguments", "end", "function", "number")

    def __init__(self, number: int, end: Callable[[int, Any], object]) -> None:
        self.number, self.end = number, end  # end(status, payload) when it is over
        self.function = self.arguments = b""  # as long as it may be run here

    @property
    def is_free(self) -> bool:
        """True if it may be run here."""
        return bool(self.function)

    def leave(self) -> None:
        """It has begun elsewhere, or has been run."""
        self.function = self.arguments = b""


class Nest:
    """The calls of one task. Any thread of the task may use it."""

    def __init__(self, owner: worker.Worker, task: int) -> None:
        self.task = task
        self._worker = owner
        self._line = line_of_worker()
        self._numbers = count(1)
        self._sending = threading.RLock()  # guards the connection's outgoing side, and is_over
        self._state = threading.Condition(threading.RLock())  # guards the rest
        self._calls: dict[int, Call] = {}
        self._received: list[int] = []
        self._withdrawn: set[int] = set()  # calls that were to be cancelled, and are, or can't be
        self._mine: list[int] = []  # calls that the client has left to us, and that we have not run
        self._answered = True  # our last question for one
        self._is_reading = False
        self._waiting = 0
        self._depth = 0
        self.is_over = False
        worker.at_end(self.close)
        owner.announce()

    # -- out

    def say(self, record: calls.Record) -> None:
        """Tell the client."""
        with self._sending:
            self.check()
            self._line.send(calls.NEST, calls.encode(record), task=self.task)

    def check(self) -> None:
        """Raise PoolElsewhere if the task is over, or this is a fork of its process."""
        if worker.here is not self._worker:
            raise PoolElsewhere("a process that a task has forked is no worker of it")
        if self.is_over:
            raise PoolElsewhere("the task that made this call is over")

    def submit(
        self, call: tuple[str, str, bytes, bytes, list[int], str], end: Callable[[int, Any], object], is_free: bool
    ) -> int:
        """Have the client run a call: all that is in a `calls.Call` but its number, which is returned.

        end: told status and payload when it is over, in the thread that happens to read that.
        is_free: it may be run here.
        """
        with self._sending:  # so that they come in the order of their numbers
            number = next(self._numbers)
            made = self._calls[number] = Call(number, end)
            if is_free:
                made.function, made.arguments = call[2], call[3]
            try:
                self.say(calls.Call(number, *call))
            except BaseException:  # nobody will know its future
                self._calls.pop(number, None)
                raise
        return number

    def cancel(self, number: int) -> None:
        """Have the client cancel a call. If that can be it has ended when this returns."""
        self._withdrawn.discard(number)
        self.say(calls.Withdraw(number))
        self._wait(lambda: number in self._withdrawn or number not in self._calls, None, (), lends=False)

    # -- waiting

    def wait(self, is_done: Callable[[], bool], timeout: float | None, numbers: Iterable[int]) -> bool:
        """Wait until that says so, or the time has come. numbers: the calls that may make it so."""
        if is_done():
            return True
        deadline = None if timeout is None else monotonic() + timeout
        return self._wait(is_done, deadline, numbers, lends=True)

    def _wait(
        self, is_done: Callable[[], bool], deadline: float | None, numbers: Iterable[int], *, lends: bool
    ) -> bool:
        may_run = deadline is None and lends and threading.current_thread() is threading.main_thread()
        wanted = list(numbers)
        is_lent = False
        try:
            while not is_done():
                self.check()
                if may_run and self._run_one(wanted):
                    continue
                if lends and not is_lent:
                    is_lent = True
                    self._lend(1)
                if self._until(lambda: is_done() or (may_run and bool(self._mine)), deadline):
                    continue
                if deadline is not None and monotonic() >= deadline:
                    return is_done()
                if not is_done():
                    self.say(calls.Await(self._open(wanted), [], [], 1))
        finally:
            if is_lent:
                self._lend(-1)
        return True

    def _open(self, numbers: list[int]) -> list[int]:
        return [number for number in numbers if number in self._calls]

    def _lend(self, more: int) -> None:
        """Tell the manager whether anybody waits."""
        with self._sending:
            before, self._waiting = self._waiting, self._waiting + more
            if bool(before) != bool(self._waiting) and not self.is_over and worker.here is self._worker:
                try:
                    self._worker.connection.send(wire.frame(wire.Waiting(int(self._waiting > 0))))
                except StopWork:
                    _end_with_the_manager()

    def _until(self, is_done: Callable[[], bool], deadline: float | None) -> bool:
        """Read, or have somebody read, until it is done or it is time to say again that we wait."""
        end = monotonic() + _AGAIN_S
        end = end if deadline is None else min(end, deadline)
        while not is_done():
            left = end - monotonic()
            self.check()
            if left <= 0:
                return False
            with self._state:
                if self._is_reading:
                    self._state.wait(left)
                    continue
                self._is_reading = True
            try:
                self._read(left)
            finally:
                with self._state:
                    self._is_reading = False
                    self._state.notify_all()
        return True

    def rouse(self) -> None:
        """Have whoever waits look again: something has happened that did not come from the client."""
        with self._state:
            self._state.notify_all()

    def _read(self, seconds: float) -> None:
        end = monotonic() + min(seconds, _SLICE_S)
        body = self._line.receive(calls.NEST, end - monotonic())
        if body is not None:
            self._deal(calls.decode(body))
        elif monotonic() < end and not self.is_over:
            _end_with_the_manager()

    def _deal(self, record: calls.Record) -> None:
        if isinstance(record, calls.Ended):
            self._end(record.number, record.status, record.data)
        elif isinstance(record, calls.Yours):
            self._answered = True
            if record.number and record.number not in self._mine:
                self._mine.append(record.number)
        elif isinstance(record, calls.Withdrawn):
            if record.done:
                self._end(record.number, wire.CANCELLED, b"")
            self._withdrawn.add(record.number)

    def _end(self, number: int, status: int, data: bytes) -> None:
        with self._state:
            call = self._calls.pop(number, None)
            self._received.append(number)
        if call is not None:
            call.end(status, data)

    # -- calls that are run here

    def _run_one(self, wanted: list[int]) -> bool:
        """Ask for a call that has not begun, and run it. False if there was none."""
        if not self._mine:
            free = [number for number in self._open(wanted) if self._calls[number].is_free]
            if not free or self._depth >= _DEEPEST:
                return False
            received, self._received = self._received, []
            self._answered = False
            self.say(calls.Await(self._open(wanted), free, received, 0))
            self._until(lambda: self._answered, None)
            if self._answered and not self._mine:
                for number in self._open(free):
                    self._calls[number].leave()  # all have begun
        if not self._mine:
            return False
        call = self._calls.get(self._mine.pop())
        if call is not None:
            self._run(call)
        return True

    def _run(self, call: Call) -> None:
        self._depth += 1
        try:
            with running_task.call_of_it(), own_directory.left():
                status, result = run(call.function, call.arguments)
        finally:
            self._depth -= 1
        data = serialize.join(result)
        self.say(calls.Ran(call.number, status, data))
        call.leave()
        if status == wire.OK:  # else the client may have it tried again
            self._end(call.number, status, data)

    # -- the end

    def close(self) -> None:
        """The task is over. Whoever still waits, in a thread that it has left, is told."""
        with self._sending:
            self.is_over = True
        self.rouse()


def _end_with_the_manager() -> NoReturn:
    """The manager is gone, and this process is about to be ended. Whatever the task made of an error of ours would be
    taken for its own, if that came first; so it does not get one."""
    os._exit(0)


def run(function: bytes, payload: bytes) -> tuple[int, Any]:
    """Run a call of our own as if it had been sent here: status and payload of its result."""
    try:
        call = serialize.load_function(memoryview(function)[1:])
        args, kwargs = serialize.load_arguments(payload)
    except BaseException as problem:  # told to whoever waits; it is user code that unpickles
        return wire.UNREADABLE, envelope.answer_with_error(problem, 0)
    try:
        value = call(*args, **kwargs)
    except BaseException as problem:  # the call's own error
        if worker.here is None:
            os._exit(0)  # a process that it forked, and that came back from it
        return wire.RAISED, envelope.answer_with_error(problem)
    if worker.here is None:
        os._exit(0)
    return envelope.dump_result(value, call)


_nest: Nest | None = None
_making = threading.RLock()  # guards _nest


def current() -> Nest:
    """The nest of the task that runs here.

    Raises:
        PoolElsewhere: none does, or this is no worker.
    """
    global _nest
    owner = worker.here
    if owner is None:
        raise PoolElsewhere("this process is no worker of it; nor is one that a task has forked")
    task = owner.words[TASK]
    nest = _nest
    if nest is None or nest.task != task or nest._worker is not owner:
        if not task:
            raise PoolElsewhere("no task runs here now")
        with _making:
            if _nest is None or _nest.task != task:
                _nest = Nest(owner, task)
            nest = _nest
    nest.check()
    return nest

