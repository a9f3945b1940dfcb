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
import time
import weakref
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
from parsl_pool.executors.high_throughput.watchdog import Watchdog
from parsl_pool.futures import FINISHED, AppFuture, Failure
from parsl_pool.interchange import shared_memory, stream, wire
from parsl_pool.interchange.page import CLAIMS_SIZE, ClaimsTable

log = logging.getLogger("parsl_pool.interchange")

_links: weakref.WeakSet[Link] = weakref.WeakSet()

_RESTARTS = 3
_REUNION_S = 10.0
_VERDICT_S = 0.005


class Reunion:
    """After a restart of the interchange: which tasks nobody has been heard to hold, and who is still to come."""

    def __init__(self, unplaced: set[int], managers: set[str], reason: str) -> None:
        self.unplaced, self.reason = unplaced, reason
        self._managers = managers
        self._deadline = monotonic() + _REUNION_S

    def back(self, record: wire.ManagerUp) -> None:
        """A manager has come back, and says what it holds."""
        self.unplaced.difference_update(record.held)
        self._managers.discard(record.manager)

    def gone(self, manager: str) -> None:
        """A manager will not come back."""
        self._managers.discard(manager)

    def is_over(self) -> bool:
        """True when all have come, or have had their time."""
        return not self._managers or monotonic() >= self._deadline

    def bound(self, timeout: float | None) -> float:
        """How long to wait at most."""
        left = 0.0 if self.is_over() else max(0.0, self._deadline - monotonic())
        return left if timeout is None else min(timeout, left)


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
        apart: Callable[[], Any] | None,
        watcher: Any,
    ) -> None:
        self.label = label
        self.stage = Stage.NEW
        self.broken: BaseException | None = None
        self.functions = Functions(self._define)
        self.tries = Tries(options, self.resubmit, self.function_name)
        self.names: dict[int, str] = {}
        self.inside = apart is None
        self._make_apart = apart
        self._apart: Any = None  # Apart, while managers are processes of their own
        self._reunion: Reunion | None = None  # after a restart: waiting for managers to come back
        self.watcher = watcher
        self._settings = settings
        self._ids = count(1)
        self._outbox: deque[AppFuture[Any]] = deque()
        self._inbox: deque[tuple[int, bytes, list[int]]] = deque()  # read, and not handled yet
        self._control: deque[tuple[bytes, list[int] | None]] = deque()
        self._awake = False
        self._wakeup = Wakeup()
        self._lock = threading.Lock()  # guards the change of `stage` to OPEN, DRAINING and STOPPING
        self._thread: threading.Thread | None = None
        self._closed = threading.Event()
        self._process: InterchangeProcess | None = None
        self.claims_fd = -1
        self._claims: ClaimsTable | None = None
        self._kill_on_stop = False
        self._restarts: deque[float] = deque(maxlen=_RESTARTS)
        self.may_restart = True
        self.opened_at = 0.0
        self._watchdog = Watchdog(self)
        self.sends_singly = False  # once a task has had a priority or a walltime
        self.pages: dict[tuple[str, int], recovery.WorkerView] = {}
        self._answers: dict[int, Any] = {}
        self._breaking: deque[str] = deque()  # why the pool is to break; from other threads
        self.shares_claims = True  # every manager writes into our claims table
        self.explain: Callable[[], str] = lambda: ""
        self.on_closed: Callable[[], None] = lambda: None
        self._owner_pid = os.getpid()
        _links.add(self)
        self.is_awaited: Callable[[], bool] = lambda: False
        """True while tasks that are not here yet will come: they wait for others."""

    def disown(self) -> None:
        """In a forked child: the pool is the parent's. Its descriptors here would hide the parent's end."""
        owner = self._owner_pid
        self._lock = threading.Lock()  # another thread may have held it
        self.broken = PoolBroken(f"this pool belongs to process {owner}; after a fork, make one of your own")
        self.stage = Stage.CLOSED
        self._closed = threading.Event()
        self._closed.set()
        if self._process is not None:
            self._process.stream.sock.close()
        self._wakeup.disown()
        self._claims = None  # it is the parent's memory
        error = self.broken
        for future in self.tries.table.values():  # copies, whose waiters would wait for ever; nothing is called back
            future._cond = None
            future._data = Failure(error)
            future._state = FINISHED
        self.tries.table.clear()

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
        claims = self._claims
        if claims is not None:
            if claims.is_claimed(task) or not self.shares_claims:
                return False
            if not claims.cancel(task):
                return self._await_verdict(future, task)
            return self.tries.table.pop(task, None) is not None
        return self.stage is Stage.NEW and self.tries.table.pop(task, None) is not None

    def cancel_all(self) -> None:
        """Cancel every task that has not been begun. The last ones first: no worker is there yet."""
        for future in reversed(list(self.tries.table.values())):
            future.cancel()

    def _await_verdict(self, future: AppFuture[Any], task: int) -> bool:
        """A worker took the task while we cancelled it: it may have seen that, and will say so in a moment."""
        deadline = monotonic() + _VERDICT_S
        while monotonic() < deadline:
            if future.done():
                return False  # the caller looks at the future: it may have become cancelled
            if not self.pump(future, deadline):
                time.sleep(0.0005)
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

    def failure_seen(self, future: AppFuture[Any]) -> None:
        """Somebody has looked at a failed future."""
        self.tries.seen += 1
        self.tries.first_failures.pop(future._tid, None)

    def pump(self, future: AppFuture[Any], deadline: float | None) -> bool:
        """In a callback on the I/O thread: nobody else would bring what it waits for."""
        if self._thread is None or threading.current_thread() is not self._thread:
            return False
        self._catch_up()
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
            try:
                self._open()
            except BaseException as problem:  # the caller gets it; what was made so far is ended
                self.broken = PoolBroken(f"the pool could not be started: {type(problem).__name__}: {problem}")
                if self._process is not None:
                    self._process.kill()
                self._thread = None
                self._close()
                raise

    def _open(self) -> None:
        self.claims_fd = shared_memory.create(CLAIMS_SIZE, "claims")
        self._claims = ClaimsTable(shared_memory.map_shared(self.claims_fd, CLAIMS_SIZE))
        if self._make_apart is not None:
            self._apart = self._make_apart()
        self._start_process()
        self._poller = select.poll()
        self._poller.register(self._wakeup.fileno(), select.POLLIN)
        self._thread = threading.Thread(target=self._run, name=f"parsl-pool-io-{self.label}", daemon=True)
        self.opened_at = monotonic()
        self._thread.start()
        self.stage = Stage.OPEN

    def _start_process(self) -> None:
        settings, descriptors = self._settings()
        self._process = InterchangeProcess(self.label)
        if self._apart is not None:
            hello = self._apart.hello()
        else:
            hello = wire.Hello(wire.PROTOCOL, os.getpid(), 1, "", "", "", "", "")
        out = self._process.stream
        out.put(wire.frame(hello))
        out.put(wire.frame(settings, 1 + len(descriptors)), [os.dup(self.claims_fd), *descriptors])

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
            self._catch_up()
            while self.stage is not Stage.CLOSED:
                left = None if deadline is None else deadline - monotonic()
                if left is not None and left <= 0:
                    return False
                self._turn(left)
            return True
        if not self._closed.wait(timeout):
            return False
        thread = self._thread
        if thread is not None:
            thread.join(timeout)
            self._thread = None  # else pool and thread would keep each other until the next collection
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
        if self._reunion is not None:
            timeout = self._reunion.bound(timeout)
            self._end_reunion()
        if self.tries.table:
            timeout = self._watchdog.bound(timeout)
        self._poller.register(fd, select.POLLIN | (select.POLLOUT if out.wants_write else 0))
        events = self._poller.poll(None if timeout is None else max(0.0, timeout) * 1000)
        self._poller.unregister(fd)
        for ready, event in events:
            if ready != fd:
                self._wakeup.clear()
            elif event & ~select.POLLOUT:
                self._watchdog.heard()
                if not self._receive(out):
                    return
        if self.tries.table:
            self._watchdog.look()
        self._awake = False
        if self._breaking:
            self._break(wire.Broken("start", self._breaking.popleft(), ""))
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
            for frame, descriptors in frames_of(batch, self.sends_singly):
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
        self._inbox.extend(messages)
        self._catch_up()
        return True

    def _catch_up(self) -> None:
        """Handle what has been read. A callback that waits for something comes back here, for what is behind it."""
        self.tries.drain()
        while self._inbox:
            kind, body, descriptors = self._inbox.popleft()
            try:
                if kind == wire.RESULTS:
                    self.tries.results(body, descriptors)
                else:
                    self._handle(wire.decode(kind, body), descriptors)
            except BadMessage as problem:
                log.error("pool %s: dropped a bad message: %s", self.label, problem)

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
        elif isinstance(record, wire.ManagerUp):
            self._manager_up(record)
        elif isinstance(record, wire.Ready):
            if self._apart is not None:
                self._apart.interchange_ready(record.address)
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

        level = logging.DEBUG if self.stage is Stage.STOPPING else logging.WARNING
        log.log(level, "pool %s: manager %s on %s is gone: %s", self.label, record.manager, record.host, record.reason)
        for task in record.tasks:
            began = self._claims is None or self._claims.is_claimed(task)
            facts = {"manager": record.manager, "host": record.host, "block": record.block}
            self.tries.place_lost(task, began, record.host, ManagerLost(facts, record.reason))
        self.watcher.other(record)
        self._apart.keeper.manager_gone(record.block)
        if self._reunion is not None:
            self._reunion.gone(record.manager)

    def _manager_up(self, record: wire.ManagerUp) -> None:
        log.info("pool %s: manager %s is up with %d workers", self.label, record.manager, record.workers)
        if not record.shares:
            self.shares_claims = False
        self.watcher.other(record)
        self._apart.keeper.manager_up(record.block)
        if self._reunion is not None:
            self._reunion.back(record)

    def _end_reunion(self) -> None:
        """What no manager holds after a restart of the interchange is sent again."""
        reunion = self._reunion
        if reunion is None or not reunion.is_over():
            return
        from parsl_pool.errors import InterchangeLost  # with its base class, which only pools with a problem need

        self._reunion = None
        for task in reunion.unplaced:
            began = self._claims is None or self._claims.is_claimed(task)
            self.tries.place_lost(task, began, "", InterchangeLost(None, reunion.reason))

    def give_up(self, text: str) -> None:
        """No block can be started: fail everything. Called by the thread that keeps the blocks."""
        self._breaking.append(text)
        self.wake()

    def interchange_hangs(self, seconds: float) -> None:
        """The watchdog has waited long enough for a sign of life. Its end is then noticed as any other."""
        log.error("pool %s: the interchange has not answered for %.0f s: ending it", self.label, seconds)
        if self._process is not None:
            self._process.kill()

    # -- the end of the interchange

    def _begin_stop(self, out: stream.Stream) -> None:
        self.stage = Stage.STOPPING
        if self._apart is not None:
            self._apart.keeper.retire()
        if self._kill_on_stop:
            from parsl_pool.errors import WorkerKilled  # as above

            self.tries.end_all(lambda: WorkerKilled(None, "the pool was ended"))
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
        from parsl_pool.errors import InterchangeLost  # as in _end_reunion
        from parsl_pool.interchange.launch import describe_status

        reason = f"it ended with {describe_status(process.status or 0)}"
        log.warning("pool %s: the interchange is lost: %s", self.label, reason)
        for body, descriptors in recovery.harvest(self.pages):
            self.tries.results(body, descriptors)
        if self.inside:
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
            final = problem
            self.broken = final
            self.stage = Stage.CLOSED
            self.tries.fail_all(lambda: final)
            return
        managers = set() if self.inside else set(self.watcher.managers)
        self._reunion = Reunion(set(self.tries.table), managers, reason)
        self._end_reunion()

    def _close(self) -> None:
        self.stage = Stage.CLOSED
        try:
            if self._apart is not None:
                self._apart.close()
            self.on_closed()
        finally:
            self._let_go()

    def _let_go(self) -> None:
        for view in self.pages.values():
            view.close()
        self.pages.clear()
        if self._process is not None:
            self._process.stream.close()
        if self._claims is not None:
            claims, self._claims = self._claims, None
            claims.close()
            os.close(self.claims_fd)
        self._closed.set()
        self._wakeup.close()

    # -- questions

    @property
    def keeper(self) -> Any:
        """The keeper of the blocks, if there are any."""
        return self._apart.keeper if self._apart is not None else None

    def running_tasks(self) -> list[AppFuture[Any]]:
        """Futures of the tasks that workers have begun, as far as the claims table tells. O(tasks under way)."""
        claims = self._claims
        if claims is None:
            return []
        return [future for task, future in list(self.tries.table.items()) if claims.is_claimed(task)]

    def has_begun(self) -> bool:
        """True once any task has been begun, or there is none to begin."""
        table = self.tries.table
        return bool(self.tries.finished or not table or self.broken) or any(
            self._claims is not None and self._claims.is_claimed(task) for task in list(table)[:64]
        )

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


def _after_fork_in_child() -> None:
    for link in list(_links):
        link._lock = threading.Lock()  # another thread may have held it
        if link.stage is Stage.NEW:
            link._wakeup.disown()
            link._wakeup = Wakeup()  # the parent would take our wake-ups from a shared one
        elif link.stage is not Stage.CLOSED:
            link.disown()


os.register_at_fork(after_in_child=_after_fork_in_child)
