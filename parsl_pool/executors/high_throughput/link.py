"""The client's side of the interchange: one thread that sends tasks and brings results.

    submit (any thread) --outbox--> I/O thread --frames--> interchange
    futures <--results in bursts--- I/O thread <--frames--

The backlog leaves the user's process at once: it waits in the interchange, outside the user's interpreter lock.
Callbacks run in the I/O thread; one that waits for something enters the turn again. For calls that come one by
one, pump.py lets the thread that waits do the plain part of the I/O thread's work.
"""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable
from time import monotonic
from typing import Any

from parsl_pool import forked
from parsl_pool.dataflow.record import Options
from parsl_pool.errors import BadMessage, PoolBroken, StartError, described
from parsl_pool.executors.high_throughput import recovery
from parsl_pool.executors.high_throughput.claims import Claims
from parsl_pool.executors.high_throughput.functions import Functions
from parsl_pool.executors.high_throughput.inbox import Inbox
from parsl_pool.executors.high_throughput.outgoing import Outgoing
from parsl_pool.executors.high_throughput.process import InterchangeProcess
from parsl_pool.executors.high_throughput.pump import Pump
from parsl_pool.executors.high_throughput.stage import Stage as Stage
from parsl_pool.executors.high_throughput.task_channel import TaskChannel
from parsl_pool.executors.high_throughput.tries import Tries
from parsl_pool.executors.high_throughput.wakeup import Wakeup
from parsl_pool.executors.high_throughput.watchdog import Watchdog
from parsl_pool.futures import OVER, AppFuture
from parsl_pool.interchange import shortage, stream, wire
from parsl_pool.loggers import careful_logger

log = careful_logger("parsl_pool.interchange")

_SLICE_S = 1.0
_TELL_S = 10.0  # a shutdown says so often what it waits for


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
        self.watcher = watcher
        self._settings = settings
        self.outbox: deque[AppFuture[Any]] = deque()
        self.outgoing = Outgoing(self)
        # The I/O thread counts its turns, before it looks at the outboxes. While `called` is the number of its turn
        # it has been woken, or needs not be. Who wakes it writes the number that he saw before: what comes late,
        # because a thread or a signal broke in, costs a wake-up too many, never one too few.
        self.turn = 0
        self.called = -1
        self._pump = Pump(self)
        self._wakeup = Wakeup()
        self._lock = threading.Lock()  # guards the change of `stage` to OPEN, DRAINING and STOPPING
        self._thread: threading.Thread | None = None
        self._io_ident = 0
        self._closed = threading.Event()
        self._process: InterchangeProcess | None = None
        self.claims = Claims(self.tries, self.pump)
        self._ids = self.claims.ids()
        self._kill_on_stop, self.may_restart = False, True
        self.interchange_words: list[str] | None = None  # of a command that is to start the interchange
        self.opened_at = 0.0
        self.watchdog = Watchdog(self)
        self._recovery = recovery.Recovery(self)
        self.channel = TaskChannel(self)
        self.stop = self.channel.stop
        self._inbox = Inbox(self, self._recovery)
        self.pages: dict[tuple[str, int], recovery.WorkerView] = {}
        self._breaking: deque[str | BaseException] = deque()  # why the pool is to break; from other threads
        self.explain: Callable[[], str] = lambda: ""
        self.on_closed: Callable[[], None] = lambda: None
        self.owner = os.getpid()
        forked.watch(self)
        self.is_awaited: Callable[[], bool] = lambda: False
        """True while tasks that are not here yet will come: they wait for others."""

    def disown(self) -> None:
        """In a forked child: the pool is the parent's. Its descriptors here would hide the parent's end."""
        self._lock = threading.Lock()  # another thread may have held it
        if self.stage is Stage.NEW:  # it can be used here as well as there
            self._wakeup.disown()
            self._wakeup = Wakeup()  # the parent would take our wake-ups from a shared one
        if self.stage in (Stage.NEW, Stage.CLOSED):
            return
        self.broken = forked.foreign(self.owner)
        self.stage = Stage.CLOSED
        self._closed = threading.Event()
        self._closed.set()
        if self._process is not None:
            self._process.stream.sock.close()
            self._process.close_words()
        self._wakeup.disown()
        self.claims.disown()
        self.tries.disown(self.broken)

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
        try:
            self.outbox.append(future)
            turn = self.turn
            if self.called != turn:
                self._wakeup.set()
                self.called = turn
        except BaseException:  # Ctrl-C: nobody will know this future
            self.tries.table.pop(task, None)
            raise
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
        self.outbox.append(future)
        self.wake()

    def _too_late(self, task: int) -> None:
        """The pool was closed between the caller's check and our entry into the table."""
        if self.stage in (Stage.STOPPING, Stage.CLOSED) and self.tries.table.pop(task, None) is not None:
            if self.broken is not None:
                raise type(self.broken)(*self.broken.args)
            raise RuntimeError("cannot schedule new futures after shutdown")

    def wake(self) -> None:
        """Have the I/O thread look at the outboxes, at once."""
        turn = self.turn
        if self.called != turn:
            self._wakeup.set()
            self.called = turn
        if self._pump.napping:
            self._pump.rouse()

    def send(self, record: wire.Record, descriptors: list[int] | None = None) -> None:
        """Queue a control message; it goes before tasks that are submitted after this call."""
        self.outgoing.control.append((wire.frame(record, len(descriptors or ())), descriptors))
        self.wake()

    def _define(self, number: int, data: bytes) -> None:
        self.send(wire.Function(number, data))

    def function_name(self, number: int) -> str:
        """A function's name, for messages."""
        return self.names.get(number, f"function {number}")

    # -- the Owner of its futures

    def name_of(self, future: AppFuture[Any]) -> str:
        """What people know a task by: its label, or its function's name."""
        return future._record.label if future._record is not None else self.function_name(future._fn)

    def cancel(self, future: AppFuture[Any]) -> bool:
        """Keep a task from being begun. See `ClaimsTable.cancel`."""
        task = future._tid
        if task not in self.tries.table:
            return False
        return self.claims.cancel(future) and self.tries.table.pop(task, None) is not None

    def cancel_all(self) -> None:
        """Cancel every task that has not been begun. The last ones first: no worker is there yet."""
        for future in reversed(list(self.tries.table.values())):
            future.cancel()

    def kill(self, future: AppFuture[Any]) -> bool:
        """End the worker that runs a task."""
        if future._tid not in self.tries.table:
            return False
        self.tries.mark_killed(future)
        self.send(wire.Kill(future._tid, wire.KILLED, "by future.kill()"))
        return True

    def is_running(self, future: AppFuture[Any]) -> bool:
        """True if a worker has begun it."""
        return future._tid in self.tries.table and bool(self.claims.are_begun([future._tid]))

    def failure_seen(self, future: AppFuture[Any]) -> None:
        """Somebody has looked at a failed future."""
        self.tries.seen += 1
        self.tries.first_failures.pop(future._tid, None)

    def pump(self, future: AppFuture[Any], deadline: float | None) -> bool:
        """See `Owner.pump`. In a callback on the I/O thread nobody else would bring what it waits for."""
        if threading.get_ident() != self._io_ident:
            return self._pump.wait(future, deadline)
        self._turn_until(lambda: future._state in OVER, deadline)
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
                text = f"the pool could not be started: {type(problem).__name__}: {shortage.describe(problem)}"
                self.broken = PoolBroken(text, self.label)
                if self._process is not None:
                    self._process.kill()
                self._thread = None
                self._close()
                if isinstance(problem, (OSError, MemoryError)) or "new thread" in text:
                    raise StartError(self.label, text) from problem
                raise

    def _open(self) -> None:
        if self._make_apart is not None:
            self._apart = self._make_apart()
            self._apart.open()
        self.claims.open(self._apart.claims_path() if self._apart is not None else "")
        self.start_process()
        self._thread = threading.Thread(target=self._run, name=f"parsl-pool-io-{self.label}", daemon=True)
        self.opened_at = monotonic()
        self._thread.start()
        self.stage = Stage.OPEN

    def start_process(self) -> None:
        """Start an interchange."""
        settings, descriptors = self._settings()
        self._process = InterchangeProcess(self.label, self._apart is None, self.interchange_words)
        if self._apart is not None:
            hello = self._apart.hello()
        else:
            hello = wire.Hello(wire.PROTOCOL, os.getpid(), 1, [], "", "", "", [])
        self._process.greet(hello, settings, [os.dup(self.claims.fd), *descriptors])
        self._pump.use(self._process.stream)

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
                if self.stage is Stage.STOPPING:
                    self.watchdog.ending(at_once=True)
        self.wake()

    def join(self, timeout: float | None = None) -> bool:
        """Wait for the end that `begin_shutdown` has begun. True if it has come."""
        if threading.get_ident() == self._io_ident:
            self._turn_until(lambda: False, None if timeout is None else monotonic() + timeout)
            return self.stage is Stage.CLOSED
        told = monotonic()
        deadline = None if timeout is None else told + timeout
        # In slices: a signal that comes between the interpreter's last look and the wait is only noticed after it.
        while not self._closed.wait(_SLICE_S if deadline is None else min(_SLICE_S, max(0.0, deadline - monotonic()))):
            now = monotonic()
            if deadline is not None and now >= deadline:
                return False
            if now - told >= _TELL_S:
                told = now
                log.info("the shutdown of pool %s waits:\n%s", self.label, self.explain())
        thread = self._thread
        if thread is not None:
            thread.join(timeout)
            self._thread = None  # else pool and thread would keep each other until the next collection
        return True

    # -- the I/O thread

    def _run(self) -> None:
        self._io_ident = threading.get_ident()
        try:
            while self.stage is not Stage.CLOSED:
                self._turn(0.0 if self._pump.nap() else None)
        except BaseException as problem:  # a bug of ours: nobody must wait for ever because of it
            log.exception("the I/O thread of pool %s failed", self.label)
            self.broken = PoolBroken(f"the I/O thread failed: {described(problem)}", self.label)
            error = self.broken
            if self._process is not None:
                self._process.kill()
            self.tries.fail_all(lambda: error)
        finally:
            self._close()
            self._io_ident = 0

    def _turn_until(self, is_over: Callable[[], bool], deadline: float | None) -> None:
        """Turn inside a callback."""
        # First what had come before the callback was called, then what the turn around us was woken for.
        self._inbox.empty()
        if not is_over():
            self._turn(0.0)
        while not is_over() and self.stage is not Stage.CLOSED:
            left = None if deadline is None else deadline - monotonic()
            if left is not None and left <= 0:
                break
            self._turn(left)

    def _turn(self, timeout: float | None) -> None:
        """Wait for something to happen, and deal with all that has."""
        timeout = self._recovery.bound(timeout)
        if self.tries.table or self.stage is Stage.STOPPING:
            timeout = self.watchdog.bound(timeout)
        readable = self._wakeup.wait(self._stream(), timeout)
        with self._pump as has_fed:
            if readable or has_fed:
                self._receive()
            if self.stage is Stage.CLOSED:
                return
            if self.tries.table or self.stage is Stage.STOPPING:
                self.watchdog.look()
            self.turn += 1
            if self._breaking:
                self._inbox.given_up(self._breaking.popleft())
            out = self._stream()
            self.outgoing.send(out)
            try:
                out.flush()
            except stream.PeerGone:
                pass  # what it had still sent is read first; its end is handled there
            if self.stage is Stage.DRAINING and (self._kill_on_stop or not (self.tries.table or self.is_awaited())):
                self._begin_stop(out)

    def _stream(self) -> stream.Stream:
        assert self._process is not None
        return self._process.stream

    def _receive(self) -> None:
        """Deal with what has come, be it the connection's end."""
        process = self._process
        assert process is not None
        self.watchdog.heard()
        try:
            self._inbox.add(process.stream.receive())
        except stream.PeerGone:
            if process.stream.has_lost_descriptors:  # it goes on, but we can't
                process.kill()
            self._ended(process)
        except BadMessage as problem:
            log.error("pool %s: the interchange's connection is damaged: %s", self.label, problem)
            process.kill()
            self._ended(process)
        else:
            self._inbox.empty()

    def interchange_ready(self, address: str) -> None:
        """It works, and listens there for managers, if they are to come from elsewhere."""
        if self._process is not None:
            self._process.is_ready = True
        if self._apart is not None:
            try:
                self._apart.interchange_ready(address)
            except (OSError, RuntimeError) as problem:  # no room for files, or no thread for the blocks
                self.give_up(shortage.describe(problem))

    def give_up(self, problem: str | BaseException) -> None:
        """Nothing can run any more: fail everything, with this text or error. Any thread."""
        self._breaking.append(problem)
        self.wake()

    def is_ready(self) -> bool:
        """True once the interchange that there is now has said that it works."""
        return self._process is not None and self._process.is_ready

    def interchange_hangs(self, what: str) -> None:
        """The watchdog has waited long enough. Its end is then noticed as any other."""
        log.error("pool %s: the interchange %s: ending it", self.label, what)
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
        self.watchdog.ending(self._kill_on_stop)
        out.put(wire.frame(wire.Stop(self._kill_on_stop)))
        try:
            out.flush()
        except stream.PeerGone:
            pass  # it has ended already, which is what we want

    def _ended(self, process: InterchangeProcess) -> None:
        if not process.wait(10.0):
            process.kill()
        process.stream.close()
        self._wakeup.forget()
        recovery.await_workers(self.pages)
        if self.stage is Stage.STOPPING:
            self.stage = Stage.CLOSED
        else:
            self._recovery.recover(process)

    def give_up_for_good(self, error: BaseException) -> None:
        """Nothing can run any more."""
        self.broken = error
        self.stage = Stage.CLOSED
        self.tries.fail_all(lambda: error)

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
        self.tries.warm.close()
        if self._process is not None:
            self._process.stream.close()
            self._process.close_words()
        self.claims.close()
        self._closed.set()
        self._wakeup.close()

    def silence(self) -> str:
        """What is to be said if the interchange does not answer; "" else."""
        return self.watchdog.silence()

    def has_tasks(self) -> bool:
        """True while there are tasks that have not ended."""
        return bool(self.tries.table)

    def is_stopping(self) -> bool:
        """True once the interchange has been told to end."""
        return self.stage is Stage.STOPPING

    # -- questions

    @property
    def keeper(self) -> Any:
        """The keeper of the blocks, if there are any."""
        return self._apart.keeper if self._apart is not None else None

    def ask(self, timeout: float = 2.0) -> wire.State | None:
        """The interchange's state; None if it doesn't answer in time."""
        if self.stage not in (Stage.OPEN, Stage.DRAINING) or threading.get_ident() == self._io_ident:
            return None
        return self._inbox.ask(next(self._ids), timeout)
