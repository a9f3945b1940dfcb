"""The client's side of the interchange: one thread that sends tasks and brings results.

    submit (any thread) --outbox--> I/O thread --frames--> interchange
    futures <--results in bursts--- I/O thread <--frames--

The backlog leaves the user's process at once: it waits in the interchange, outside the user's interpreter lock.
Only the I/O thread touches the socket. It may be entered again from a callback that waits for something.
"""

from __future__ import annotations

import logging
import os
import select
import threading
from collections import deque
from collections.abc import Callable
from enum import Enum
from itertools import count
from time import monotonic
from typing import Any

from parsl_pool.dataflow.record import Options
from parsl_pool.errors import BadMessage, InitializerError, PoolBroken, StartError
from parsl_pool.executors.high_throughput import recovery
from parsl_pool.executors.high_throughput.functions import Functions
from parsl_pool.executors.high_throughput.process import InterchangeProcess
from parsl_pool.executors.high_throughput.tries import Tries, frames_of
from parsl_pool.executors.high_throughput.wakeup import Wakeup
from parsl_pool.futures import AppFuture
from parsl_pool.interchange import shared_memory, stream, wire
from parsl_pool.interchange.page import CLAIMS_SIZE, ClaimsTable

log = logging.getLogger("parsl_pool.interchange")

_START_S = 30.0
_RESTARTS = 3


class Stage(Enum):
    """Where a link is in its life."""

    NEW = "nothing is started yet"
    OPEN = "tasks are taken"
    DRAINING = "no new tasks; those that are there are finished"
    STOPPING = "the interchange has been told to end"
    CLOSED = "everything has ended"


class Link:
    """The connection of one executor with its interchange."""

    def __init__(
        self,
        label: str,
        options: Options,
        settings: Callable[[], tuple[wire.Settings, list[int]]],
        inside: bool,
        watcher: Any,
    ) -> None:
        self.label = label
        self.stage = Stage.NEW
        self.broken: BaseException | None = None
        self.functions = Functions(self._define)
        self.tries = Tries(options, self.resubmit, self.function_name)
        self.names: dict[int, str] = {}
        self.inside = inside
        self.watcher = watcher
        self._settings = settings
        self._ids = count(1)
        self._outbox: deque[AppFuture[Any]] = deque()
        self._control: deque[tuple[bytes, list[int] | None]] = deque()
        self._awake = False
        self._wakeup = Wakeup()
        self._lock = threading.Lock()  # guards the change of `stage` to OPEN, DRAINING and STOPPING
        self._thread: threading.Thread | None = None
        self._closed = threading.Event()
        self._process: InterchangeProcess | None = None
        self._claims_fd = -1
        self._claims: ClaimsTable | None = None
        self._kill_on_stop = False
        self._restarts: deque[float] = deque(maxlen=_RESTARTS)
        self.may_restart = True
        self.uses_priorities = False
        self.pages: dict[tuple[str, int], recovery.WorkerView] = {}
        self._answers: dict[int, Any] = {}
        self.is_awaited: Callable[[], bool] = lambda: False
        """True while tasks that are not here yet will come: they wait for others."""

    # -- submitting: any thread

    def submit(self, number: int, data: Any, record: Any = None) -> AppFuture[Any]:
        """Queue one task: the function's number and the arguments' payload."""
        future: AppFuture[Any] = AppFuture.__new__(AppFuture)
        future._state = "PENDING"
        future._fn = number
        future._data = data
        future._owner = self
        future._cond = None
        future._record = record
        future._tid = task = next(self._ids)
        self.tries.table[task] = future
        self._outbox.append(future)
        if not self._awake:
            self._awake = True
            self._wakeup.set()
        if self.stage is not Stage.OPEN:
            self._too_late(task)
        return future

    def launch(self, future: AppFuture[Any], data: Any) -> None:
        """Queue a task whose future exists: its arguments have come."""
        future._data = data
        future._owner = self
        self.resubmit(future)

    def resubmit(self, future: AppFuture[Any]) -> None:
        """Queue a try, under an id of its own."""
        future._tid = task = next(self._ids)
        if self.broken is not None:
            error = self.broken
            self.tries.table[task] = future
            self.tries.fail_all(lambda: error)
            return
        self.tries.table[task] = future
        self._outbox.append(future)
        self.wake()

    def _too_late(self, task: int) -> None:
        """The pool was closed between the caller's check and our entry into the table."""
        if self.stage in (Stage.STOPPING, Stage.CLOSED) and self.tries.table.pop(task, None) is not None:
            raise RuntimeError("cannot schedule new futures after shutdown")

    def wake(self) -> None:
        """Have the I/O thread look at the outboxes."""
        if not self._awake:
            self._awake = True
            self._wakeup.set()

    def send(self, record: wire.Record, descriptors: list[int] | None = None) -> None:
        """Queue a control message; it goes before tasks that are submitted after this call."""
        self._control.append((wire.frame(record, len(descriptors or ())), descriptors))
        self.wake()

    def _define(self, number: int, data: bytes) -> None:
        self.send(wire.Function(number, data))

    def function_name(self, number: int) -> str:
        """A function's name, for messages."""
        return self.names.get(number, f"function {number}")

    # -- the Owner of its futures

    def cancel(self, future: AppFuture[Any]) -> bool:
        """Keep a task from being begun. See `ClaimsTable.cancel`."""
        task = future._tid
        if task not in self.tries.table:
            return False
        if self._claims is not None:
            if not self._claims.cancel(task):
                return self._await_verdict(future, task)
            return self.tries.table.pop(task, None) is not None
        return self.stage is Stage.NEW and self.tries.table.pop(task, None) is not None

    def _await_verdict(self, future: AppFuture[Any], task: int) -> bool:
        """A worker took the task while we cancelled it: it may have seen that, and will say so in a moment."""
        claims = self._claims
        if claims is None or claims.cancels[task & (len(claims.cancels) - 1)] == 0:
            return False
        return False

    def kill(self, future: AppFuture[Any]) -> bool:
        """End the worker that runs a task."""
        if future._tid not in self.tries.table:
            return False
        self.tries.mark_killed(future)
        self.send(wire.Kill(future._tid, wire.KILLED, "by future.kill()"))
        return True

    def is_running(self, future: AppFuture[Any]) -> bool:
        """True if a worker has begun it."""
        claims = self._claims
        return claims is not None and future._tid in self.tries.table and claims.is_claimed(future._tid)

    def pump(self, future: AppFuture[Any], deadline: float | None) -> bool:
        """In a callback on the I/O thread: nobody else would bring what it waits for."""
        if self._thread is None or threading.current_thread() is not self._thread:
            return False
        while not future.done() and self.stage is not Stage.CLOSED:
            left = None if deadline is None else deadline - monotonic()
            if left is not None and left <= 0:
                break
            self._turn(left)
        return True

    # -- life

    def open(self) -> None:
        """Start the interchange and the I/O thread, unless they run.

        Raises:
            StartError: the interchange can't be started.
            RuntimeError: the pool has been shut down.
        """
        with self._lock:
            if self.stage is not Stage.NEW:
                return
            self._claims_fd = shared_memory.create(CLAIMS_SIZE, "claims")
            self._claims = ClaimsTable(shared_memory.map_shared(self._claims_fd, CLAIMS_SIZE))
            self._start_process()
            self._poller = select.poll()
            self._poller.register(self._wakeup.fileno(), select.POLLIN)
            self._thread = threading.Thread(target=self._run, name=f"parsl-pool-io-{self.label}", daemon=True)
            self.stage = Stage.OPEN
            self._thread.start()

    def _start_process(self) -> None:
        self._process = InterchangeProcess(self.label)
        settings, descriptors = self._settings()
        hello = wire.Hello(wire.PROTOCOL, "", os.getpid(), self.inside)
        out = self._process.stream
        out.put(wire.frame(hello))
        out.put(wire.frame(settings, 1 + len(descriptors)), [os.dup(self._claims_fd), *descriptors])

    def begin_shutdown(self, kill: bool = False) -> None:
        """Take no more tasks; end when those that are there are done. kill: end at once."""
        with self._lock:
            if self.stage is Stage.NEW:
                self.stage = Stage.CLOSED
                self._closed.set()
                self._wakeup.close()
                return
            if self.stage is Stage.OPEN:
                self.stage = Stage.DRAINING
            if kill:
                self._kill_on_stop = True
        self.wake()

    def join(self, timeout: float | None = None) -> bool:
        """Wait for the end that `begin_shutdown` has begun. True if it has come."""
        if self._thread is not None and threading.current_thread() is self._thread:
            deadline = None if timeout is None else monotonic() + timeout
            while self.stage is not Stage.CLOSED:
                left = None if deadline is None else deadline - monotonic()
                if left is not None and left <= 0:
                    return False
                self._turn(left)
            return True
        if not self._closed.wait(timeout):
            return False
        if self._thread is not None and self._thread.is_alive():
            self._thread.join(timeout)
        return True

    # -- the I/O thread

    def _run(self) -> None:
        try:
            while self.stage is not Stage.CLOSED:
                self._turn(None)
        except BaseException as problem:  # a bug of ours: nobody must wait for ever because of it
            log.exception("the I/O thread of pool %s failed", self.label)
            self.broken = PoolBroken(f"the I/O thread failed: {type(problem).__name__}: {problem}")
            error = self.broken
            if self._process is not None:
                self._process.kill()
            self.tries.fail_all(lambda: error)
        finally:
            self._close()

    def _turn(self, timeout: float | None) -> None:
        """Wait for something to happen, and deal with all that has."""
        process = self._process
        assert process is not None
        out = process.stream
        fd = out.fileno()
        self._poller.register(fd, select.POLLIN | (select.POLLOUT if out.wants_write else 0))
        events = self._poller.poll(None if timeout is None else max(0.0, timeout) * 1000)
        self._poller.unregister(fd)
        for ready, event in events:
            if ready != fd:
                self._wakeup.clear()
            elif event & ~select.POLLOUT and not self._receive(out):
                return
        self._awake = False
        self._send_tasks(out)
        try:
            out.flush()
        except stream.PeerGone:
            pass  # what it had still sent is read first; its end is handled there
        if self.stage is Stage.DRAINING and (self._kill_on_stop or not (self.tries.table or self.is_awaited())):
            self._begin_stop(out)

    def _send_tasks(self, out: stream.Stream) -> None:
        outbox = self._outbox
        waiting = len(outbox)
        batch = [outbox.popleft() for _ in range(waiting)]
        # Taken after the batch: a function is queued before the first task that names it.
        while self._control:
            out.put(*self._control.popleft())
        if batch:
            if self.functions.is_full():
                gone = self.functions.prune({future._fn for future in list(self.tries.table.values())})
                out.put(wire.frame(wire.Forget(gone)))
            for frame, descriptors in frames_of(batch, self.uses_priorities):
                out.put(frame, descriptors)

    def _receive(self, out: stream.Stream) -> bool:
        try:
            messages = out.receive()
        except stream.PeerGone:
            self._interchange_ended()
            return False
        except BadMessage as problem:
            log.error("pool %s: the interchange's connection is damaged: %s", self.label, problem)
            assert self._process is not None
            self._process.kill()
            self._interchange_ended()
            return False
        for kind, body, descriptors in messages:
            try:
                if kind == wire.RESULTS:
                    self.tries.results(body, descriptors)
                else:
                    self._handle(wire.decode(kind, body), descriptors)
            except BadMessage as problem:
                log.error("pool %s: dropped a bad message: %s", self.label, problem)
        return True

    def _handle(self, record: wire.Record, descriptors: list[int]) -> None:
        if isinstance(record, wire.WorkerUp):
            self.pages[record.manager, record.worker] = recovery.WorkerView(record, descriptors)
            self.watcher.worker_up(record)
        elif isinstance(record, wire.WorkerGone):
            view = self.pages.pop((record.manager, record.worker), None)
            if view is not None:
                view.close()
            self.watcher.worker_gone(record)
        elif isinstance(record, wire.ManagerGone):
            self._manager_gone(record)
        elif isinstance(record, wire.Broken):
            self._break(record)
        elif isinstance(record, wire.Notice):
            log.log(record.level, "pool %s: %s", self.label, record.text)
        elif isinstance(record, (wire.State, wire.Pong)):
            waiter = self._answers.pop(record.number, None)
            if waiter is not None:
                waiter(record)
        else:
            self.watcher.other(record)

    def _break(self, record: wire.Broken) -> None:
        text, trace = record.text, record.traceback_text

        def error() -> PoolBroken:
            if record.cause == "initializer":
                return InitializerError(text, trace)
            return PoolBroken(f"no worker can be started: {text}" + (f"; they said:\n{trace}" if trace else ""))

        self.broken = error()
        self.tries.fail_all(error)

    def _manager_gone(self, record: wire.ManagerGone) -> None:
        from parsl_pool.errors import ManagerLost  # with its base class, which only pools with a problem need

        log.warning("pool %s: manager %s on %s is lost: %s", self.label, record.manager, record.host, record.reason)
        for task in record.tasks:
            began = self._claims is None or self._claims.is_claimed(task)
            facts = {"manager": record.manager, "host": record.host, "block": record.block}
            self.tries.place_lost(task, began, record.host, ManagerLost(facts, record.reason))
        self.watcher.other(record)

    # -- the end of the interchange

    def _begin_stop(self, out: stream.Stream) -> None:
        self.stage = Stage.STOPPING
        if self._kill_on_stop:
            from parsl_pool.errors import WorkerKilled  # as above

            self.tries.fail_all(lambda: WorkerKilled(None, "the pool was ended"))
        elif self.tries.table or self.is_awaited():  # submitted while we were deciding
            self.stage = Stage.DRAINING
            return
        out.put(wire.frame(wire.Stop(self._kill_on_stop)))
        try:
            out.flush()
        except stream.PeerGone:
            pass  # it has ended already, which is what we want

    def _interchange_ended(self) -> None:
        process = self._process
        assert process is not None
        if not process.wait(10.0):
            process.kill()
        process.stream.close()
        recovery.await_workers(self.pages)
        if self.stage is Stage.STOPPING:
            self.stage = Stage.CLOSED
            return
        self._recover(process)

    def _recover(self, process: InterchangeProcess) -> None:
        """Start another interchange, and send it what nobody has the result of."""
        from parsl_pool.errors import InterchangeLost  # as above
        from parsl_pool.interchange.launch import describe_status

        reason = f"it ended with {describe_status(process.status or 0)}"
        log.warning("pool %s: the interchange is lost: %s", self.label, reason)
        for body, descriptors in recovery.harvest(self.pages):
            self.tries.results(body, descriptors)
        for view in self.pages.values():
            self.watcher.worker_gone(wire.WorkerGone(view.record.manager, view.record.worker, -9, 0))
            view.close()
        self.pages.clear()
        self._outbox.clear()
        for future in self.functions.data.items():
            self._control.append((wire.frame(wire.Function(*future)), None))
        problem: BaseException | None = None
        now = monotonic()
        if not self.may_restart:
            problem = InterchangeLost(None, f"{reason}, and the interpreter is exiting")
        elif len(self._restarts) == _RESTARTS and now - self._restarts[0] < 10.0:
            problem = PoolBroken(f"the interchange ended {_RESTARTS + 1} times within 10 s; the last time {reason}")
        else:
            self._restarts.append(now)
            try:
                self._start_process()
            except (StartError, OSError) as error:
                problem = PoolBroken(f"the interchange is lost ({reason}) and can't be started again: {error}")
        if problem is not None:
            error = problem
            self.broken = problem
            self.stage = Stage.CLOSED
            self.tries.fail_all(lambda: error)
            return
        for task in list(self.tries.table):
            began = self._claims is None or self._claims.is_claimed(task)
            self.tries.place_lost(task, began, "", InterchangeLost(None, reason))

    def _close(self) -> None:
        self.stage = Stage.CLOSED
        for view in self.pages.values():
            view.close()
        self.pages.clear()
        if self._process is not None:
            self._process.stream.close()
        if self._claims is not None:
            claims, self._claims = self._claims, None
            claims.close()
            os.close(self._claims_fd)
        self._closed.set()
        self._wakeup.close()

    # -- questions

    def ask(self, timeout: float = 2.0) -> wire.State | None:
        """The interchange's state; None if it doesn't answer in time."""
        if self.stage not in (Stage.OPEN, Stage.DRAINING) or threading.current_thread() is self._thread:
            return None
        answered = threading.Event()
        answer: list[wire.State] = []

        def take(record: wire.State) -> None:
            answer.append(record)
            answered.set()

        number = next(self._ids)
        self._answers[number] = take
        self.send(wire.Ask(number))
        answered.wait(timeout)
        self._answers.pop(number, None)
        return answer[0] if answer else None
