"""`ThreadPoolExecutor`: tasks run in threads of the user's own process. Any object passes; memory is shared."""

from __future__ import annotations

import os
import sys
import threading
import time
import weakref
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from concurrent.futures import ThreadPoolExecutor as _Threads
from itertools import count
from typing import Any

from parsl_pool import checks, forked
from parsl_pool.dataflow.kernel import Kernel
from parsl_pool.dataflow.record import Fault, Options, TaskRecord
from parsl_pool.dataflow.staged import Instead
from parsl_pool.dataflow.traverse import ObjectCall, things_in, with_replaced, with_results
from parsl_pool.errors import AppTimeout, PoolBroken, SerializationError, described
from parsl_pool.executors.base import ParslExecutor
from parsl_pool.executors.thread_task import ThreadTask
from parsl_pool.executors.walltimes import Walltimes
from parsl_pool.files import File
from parsl_pool.futures import PENDING, RUNNING, AppFuture, Failure, frameless
from parsl_pool.futures.data_future import DataFuture
from parsl_pool.futures.told import Progress, known_of, progress_of, told_by
from parsl_pool.interchange import running_task
from parsl_pool.run_directory import RunPlace
from parsl_pool.run_log import RunLog


class ThreadPoolExecutor(ParslExecutor):
    """Runs tasks in threads.

    Args:
        label: name of the executor.
        max_threads: how many tasks run at once.
        thread_name_prefix: begins the threads' names.
        storage_access: who brings the files of its tasks; the first that can does it. None: `default_staging`.
        working_dir: where files are brought to; None: a folder in the run's directory.
        retries: how often a task that fails is tried again; None: what the pool says.

    A task that runs cannot be stopped: `future.kill()` only cancels what has not begun. At its walltime its future
    fails, and the shell commands that it has started are ended; but its thread runs on until the function returns, does
    no other task meanwhile, and is waited for at the end.
    """

    wants_payloads = has_processes = False

    def __init__(
        self,
        label: str = "threads",
        max_threads: int = 2,
        thread_name_prefix: str = "",
        storage_access: Any = None,
        working_dir: str | os.PathLike[str] | None = None,
        *,
        retries: int | None = None,
    ) -> None:
        self.label = checks.name("label", label)
        self.max_threads = checks.workers("max_threads", max_threads)
        self.take_storage(storage_access, working_dir)
        self.say(retries)
        self.kernel = Kernel()
        self._prefix = checks.short_text("thread_name_prefix", thread_name_prefix) or f"parsl-pool-{self.label}"
        self._threads: _Threads | None = None
        self._lock = threading.Lock()  # guards _threads, _pending and _closing
        self._pending: dict[int, AppFuture[Any]] = {}
        self._closing = False
        self._place: RunPlace | None = None
        self._logs = False
        self._end_log: Callable[[], object] = lambda: None
        self.is_stopping = False  # all that runs is asked to
        self._empty = threading.Condition(self._lock)
        self._is_held: Callable[[], bool] = lambda: False
        self._walltimes = Walltimes(f"{self._prefix}-walltimes", self._expired)
        self._ids = count(1)
        self._owner_pid = os.getpid()
        forked.watch(self)
        self._done = self._failed = self._retried = 0

    # -- life

    def start(self) -> None:
        """Begin to work."""
        is_held = self._is_held()
        with self._lock:
            if self.broken is not None:
                raise PoolBroken(*self.broken.args)
            if self._closing and not is_held:
                raise RuntimeError("cannot schedule new futures after shutdown")
            if self._threads is None:
                if self._place is not None and self._place.path is not None and self._logs:
                    run_log = RunLog(self._place.enter().path, self.label)
                    # Also for one that is dropped without a shutdown.
                    self._end_log = weakref.finalize(self, _end_log, run_log, self._place)
                self._threads = _Threads(self.max_threads, thread_name_prefix=self._prefix)

    def begin_shutdown(self, kill: bool = False) -> None:
        """Take no more tasks. kill: those that have not begun are cancelled, the others asked to stop."""
        self.is_stopping = self.is_stopping or kill
        with self._lock:
            self._closing = True
            pending = list(self._pending.values()) if kill else []
        for future in pending:
            future.cancel()

    def join(self, timeout: float | None = None) -> bool:
        """Wait for the end of all tasks. True if it has come."""
        with self._empty:
            if not self._empty.wait_for(lambda: not self._pending and not self._is_held(), timeout):
                return False
        if self._threads is not None:
            self._threads.shutdown(wait=True)
        self._walltimes.close()
        self.kernel.close()
        self._end_log()
        return True

    def adopt(self, retries: int, lost_retries: int, place: RunPlace, logs: bool) -> None:
        """See the base class."""
        super().adopt(retries, lost_retries, place, logs)
        self._place, self._logs = place, logs

    @property
    def is_open(self) -> bool:
        """True while it takes calls."""
        return self._threads is not None and not self._closing

    @property
    def is_new(self) -> bool:
        """See the base class."""
        return self._threads is None and not self._closing

    def disown(self) -> None:
        """In a forked child: there are no threads here."""
        self._lock._at_fork_reinit()  # type: ignore[attr-defined]  # private, and made for that
        self._empty = threading.Condition(self._lock)
        if self.is_new:
            return
        self.broken = error = forked.foreign(self._owner_pid)
        self._closing, self._threads = True, None
        self.kernel.disown(error)
        for future in self._pending.values():
            future.disown(error)
        self._pending.clear()
        self._walltimes = Walltimes(f"{self._prefix}-walltimes", self._expired)

    def cancel_all(self) -> None:
        """Cancel every task that has not begun; what runs is asked to stop."""
        self.is_stopping = True
        with self._lock:
            pending = list(self._pending.values())
        for future in pending:
            future.cancel()

    def explain(self) -> str:
        """What waits, for what; for people."""
        return "\n".join([self.describe(), *self.kernel.explain()])

    def counts(self) -> dict[str, float]:
        """Numbers for `PoolStatus`."""
        with self._lock:
            running = sum(future._state == RUNNING for future in self._pending.values())
            waiting = len(self.kernel)
            queued = len(self._pending) - running - waiting
        return {
            "waiting": waiting, "queued": max(0, queued), "running": running, "done": self._done,
            "failed": self._failed, "retried": self._retried, "workers": self.max_threads,
        }  # fmt: skip

    def progress(self) -> list[tuple[int, str, Progress]]:
        """See the base class."""
        with self._lock:
            running = [future for future in self._pending.values() if future._state == RUNNING]
        told = [(future, progress_of(future)) for future in running]
        return [(future.tid, self.name_of(future), said) for future, said in told if said is not None]

    @property
    def run_id(self) -> str:
        """Names the pool's run."""
        return self._place.run_id if self._place is not None else ""

    def describe(self) -> str:
        """In a few words."""
        return f"{self.label}: {self.max_threads} threads, {len(self._pending)} tasks under way"

    # -- calls

    def call(
        self,
        fn: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: Mapping[str, Any],
        options: Options | None = None,
    ) -> AppFuture[Any]:
        """Run `fn(*args, **kwargs)`; futures among the arguments are awaited."""
        self.start()
        found = things_in((args, dict(kwargs)), (Future, File))
        try:
            args, kwargs = self._with_objects(args, dict(kwargs))
        except SerializationError as error:
            failed: AppFuture[Any] = AppFuture()
            failed.finish(Failure(frameless(error)))
            return failed
        needed = [each for each in found if isinstance(each, Future)]
        are_in_place = self.in_place_for(kwargs)
        if self.call_with_files is not None and are_in_place is not None:
            files = [each for each in found if isinstance(each, (File, DataFuture))]
            if files and not are_in_place(files):
                return self.call_with_files(fn, args, dict(kwargs), options)
        return self._call(fn, args, kwargs, options, needed)

    def _with_objects(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """The arguments with objects in the places of their Refs."""
        objects = sys.modules.get("parsl_pool.objects")  # where that is not loaded there are no Refs
        if objects is None or not objects.Objects.are_there:
            return args, kwargs
        own = self.objects
        values = with_replaced((args, kwargs), objects.Ref, lambda ref: objects.opened(ref, own))
        return values[0], values[1]

    def prepare(self, fn: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> ObjectCall:
        """See the base class."""
        call: ObjectCall = super().prepare(fn, *self._with_objects(args, kwargs))
        return call

    def prepare_staged(
        self, fn: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any], instead: Instead | None = None
    ) -> ObjectCall:
        """See the base class."""
        call: ObjectCall = super().prepare_staged(fn, *self._with_objects(args, kwargs), instead)
        return call

    def new_id(self) -> int:
        """See the base class."""
        return next(self._ids)

    def hold(self, is_busy: Callable[[], bool]) -> None:
        """See the base class."""
        self._is_held = is_busy

    def wake(self) -> None:
        """See the base class."""
        with self._empty:
            self._empty.notify_all()

    def unfinished(self) -> list[Future[Any]]:
        """See the base class."""
        with self._lock:
            return list(self._pending.values())

    def launch_try(
        self, call: ObjectCall, results: list[Any], options: Options, of: TaskRecord | None = None
    ) -> AppFuture[Any]:
        """See the base class."""
        return self._call(call.fn, call.args, call.kwargs, options, call.futures, of)

    def _call(
        self,
        fn: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: Mapping[str, Any],
        options: Options | None,
        needed: list[Future[Any]],
        of: TaskRecord | None = None,
    ) -> AppFuture[Any]:
        future: AppFuture[Any] = AppFuture()
        future._tid = next(self._ids)
        future._owner = self
        name = of.label if of is not None else str(getattr(fn, "__qualname__", type(fn).__name__))
        record = future._record = TaskRecord(future._tid, options or self.options, name, time.time())
        if of is not None:
            record.parent, record.task = of, of.task
        with self._lock:
            self._pending[id(future)] = future
        call = (fn, args, dict(kwargs))
        if needed:
            self.kernel.submit(future, call, needed, self)
        else:
            self.launch(future, call, [])
        future.add_done_callback(self._forget)
        return future

    def launch(self, future: AppFuture[Any], arguments: Any, results: list[Any]) -> None:
        """The kernel has all that a task needs."""
        future._owner = self
        assert self._threads is not None
        self._threads.submit(self._run, [future], arguments, bool(results))

    def _run(self, given: list[AppFuture[Any]], call: tuple[Any, Any, Any], has_futures: bool) -> None:
        # An error's traceback has this frame, and by it our caller's: if the future were still in either when it is
        # given the error, that would be a cycle.
        future = given.pop()
        with future._condition:
            if future._state != PENDING:
                return  # cancelled
            future._state = RUNNING
        fn, args, kwargs = call
        record: TaskRecord = future._record
        while True:
            record.began = time.time()
            limit = self._walltimes.begin(future, record.options.walltime) if record.options.walltime else None
            running_task.enter(ThreadTask(self, record))
            try:
                if has_futures:
                    args, kwargs = self._with_objects(*with_results((args, kwargs)))
                value = fn(*args, **kwargs)
            except BaseException as error:  # the task's own
                running_task.enter(None)
                if limit is not None and not self._walltimes.end(limit):
                    del future
                    return
                if self._has_failed(record, described(error)):
                    self._retried += 1
                    continue
                self._failed += 1
                future.set_exception(error)
                del future
            else:
                running_task.enter(None)
                if limit is None or self._walltimes.end(limit):
                    future.set_result(value)
            return

    def _has_failed(self, record: TaskRecord, error: str) -> bool:
        """Note the failed try. True: there is to be another one."""
        worker = threading.current_thread().name
        error = error.split("\n", 1)[0][:200]
        told = known_of(record)
        may_go_on = record.failed(Fault.TASK, os.uname().nodename, error, time.time(), worker=worker)
        return may_go_on and not (told is not None and told.is_stopping)

    def _expired(self, future: AppFuture[Any]) -> None:
        record: TaskRecord = future._record
        name = f"task {record.task} ({record.label})"
        error = AppTimeout(f"{name} ran longer than its walltime of {record.options.walltime:g} s")
        self._failed += 1
        record.failed(Fault.TASK, os.uname().nodename, described(error), time.time())
        future.finish(Failure(error))

    def _forget(self, future: Future[Any]) -> None:
        told = getattr(future, "_record").told  # noqa: B009  # an AppFuture
        if told is not None:
            told.state = None
        with self._empty:
            self._pending.pop(id(future), None)
            self._done += 1
            if not self._pending:
                self._empty.notify_all()

    # -- the Owner of its futures

    def cancel(self, future: AppFuture[Any]) -> bool:
        """True if the task has not begun; the thread that comes to it will skip it."""
        with future._condition:
            return future._state == PENDING

    def kill(self, future: AppFuture[Any]) -> bool:
        """A thread cannot be stopped."""
        return False

    def stop(self, future: AppFuture[Any]) -> bool:
        """Ask the running task to stop."""
        told_by(future._record).is_stopping = True
        return True

    def is_running(self, future: AppFuture[Any]) -> bool:
        """True if a thread has begun it."""
        return future._state == RUNNING

    def failure_seen(self, future: AppFuture[Any]) -> None:
        """Nothing is reported about threads."""

    def name_of(self, future: AppFuture[Any]) -> str:
        """Its label, or its function's name."""
        return str(future._record.label)

    def pump(self, future: AppFuture[Any], deadline: float | None) -> bool:
        """Results come from the threads themselves."""
        return False


def _end_log(run_log: RunLog, place: RunPlace) -> None:
    run_log.close()
    place.leave()
