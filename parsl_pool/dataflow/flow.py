"""Tasks that take more than one step: joins, memoization, retries that the user's code decides.

A plain call goes to its executor with one future, and never comes here. For these there are two: the user's, and one
for each try, which the executor knows. Steps follow one another as events: submitted, what it needs is there, a try
has ended, what it joined has ended. Between two steps nothing holds a thread. What the user's code has a part in
(handlers, keys, join apps, values that have to be opened) runs in helper threads.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, wait
from functools import partial
from typing import Any

from parsl_pool.dataflow import foreign
from parsl_pool.dataflow.call import Call
from parsl_pool.dataflow.cycles import CycleWatch
from parsl_pool.dataflow.failures import Failures, InDirectory
from parsl_pool.dataflow.flow_task import Backend, FlowTask
from parsl_pool.dataflow.flow_tries import FlowTries
from parsl_pool.dataflow.helpers import Helpers
from parsl_pool.dataflow.joining import Joiner, check_files, joined, joined_futures
from parsl_pool.dataflow.kernel import DependencyFailure, Kernel
from parsl_pool.dataflow.record import FlowRecord, Options
from parsl_pool.dataflow.resolvers import ResolvedCall
from parsl_pool.dataflow.reuse import Key, NoReuse, Reuse
from parsl_pool.dataflow.staged import NoStager, Stager, prepared, with_files_brought, written_by
from parsl_pool.dataflow.traverse import ObjectCall
from parsl_pool.errors import JoinError, StagingError
from parsl_pool.futures import FINISHED, AppFuture, Failure, LiftingFuture, Value, frameless, has_failed
from parsl_pool.futures.states import FINAL, TaskState
from parsl_pool.futures.told import told_by


class Flow:
    """The tasks of one pool that take more than one step. It is the owner of their futures."""

    wants_payloads = False

    def __init__(self, name: str, max_threads: int) -> None:
        self.helpers = Helpers(max_threads, name)
        self.make_reuse: Callable[[Helpers], Reuse] = lambda helpers: NoReuse()
        self._reuse: Reuse | None = None  # made under _lock
        self._ends: list[Callable[[], None]] = []
        self._kernel = Kernel()
        self._lock = threading.Lock()  # guards _tasks, _reuse, _ends, and of each task `inner` and `is_over`
        self._tasks: dict[int, FlowTask] = {}  # id(future) -> task
        self._holding: list[Backend] = []
        self._is_closing = self._is_abandoned = False
        self.stager: Stager = NoStager()
        self._tries = FlowTries(self, self._lock, self.helpers)
        self.failures = Failures(name)
        self.keeps_records = False  # what a record tells of a call stays in it when the task is over
        self._cycles = CycleWatch(self.helpers, self._kernel, self._current, self._fail)
        foreign.watch(self)

    @property
    def reuse(self) -> Reuse:
        """Who remembers results."""
        if self._reuse is None:
            made = self.make_reuse(self.helpers)
            with self._lock:
                self._reuse = self._reuse or made
        return self._reuse

    def is_busy(self) -> bool:
        """True while a task may still launch a try."""
        return bool(self._tasks)

    def hold(self, backend: Backend) -> None:
        """Keep this executor working until we need it no more."""
        self._holding.append(backend)
        backend.hold(self.is_busy)

    # -- submitted

    def submit(self, call: Call, options: Options, backend: Backend) -> AppFuture[Any]:
        """Run the call by that executor, or here if it is a join app's."""
        fn = call.fn
        name = options.label or str(getattr(fn, "__qualname__", None) or type(fn).__name__)
        record = FlowRecord(backend.new_id() if call.task is None else call.task, options, name, time.time())
        future: AppFuture[Any] = LiftingFuture() if call.is_app else AppFuture()
        future._record, future._owner = record, self
        record.executor = backend.label
        record.is_app, record.sandbox = call.is_app, call.sandbox
        key: Key | None = None
        problem: BaseException | None = None
        if options.cache:
            try:
                key = self.reuse.key_of(fn, call.args, call.kwargs, options, call.is_app)
                outcome = self.reuse.find(key) if key is not None else None
            except BaseException as error:  # an argument that has no key; told below
                problem, outcome = error, None
            if key is not None and outcome is not None:
                self._was_known(future, key, outcome, call)
                return future
        record.func, record.args, record.kwargs, record.app_fu = fn, call.args, call.kwargs, future
        record.status = TaskState.pending
        task = FlowTask(future, record, backend, call.runs_as)
        task.key = key
        future.add_done_callback(self._over)
        record.outputs = self.stager.outputs(task, call)
        with self._lock:
            self._tasks[id(future)] = task
        try:
            if problem is not None:
                raise problem
            if not self._is_known(task):
                self._prepare(task)
        except (KeyboardInterrupt, StagingError):  # Ctrl-C, or nobody brings a file: nobody will know this future
            future.kill()
            self.take_back(task)
            raise
        except BaseException as error:  # what can't be pickled, or has no key
            self._fail(task, error)
        return future

    def _was_known(self, future: AppFuture[Any], key: Key, outcome: object, call: Call) -> None:
        """Nobody has this future yet, so that its end is to be told to nobody."""
        record = future._record
        record.hashsum, record.from_memo, record.status = key.digest.hex(), True, TaskState.memo_done
        record.time_returned = record.time_invoked
        future._data, future._state = outcome, FINISHED
        record.outputs = written_by(future, call)

    def _prepare(self, task: FlowTask) -> None:
        record = task.record
        resolver = record.options.dependency_resolver
        fn, args, kwargs = task.runs_as or (record.func, record.args, record.kwargs)
        if resolver is not None:
            task.call = ResolvedCall(*with_files_brought(self.stager, task, fn, args, kwargs), resolver)
        elif record.options.join:
            task.call = ObjectCall(fn, args, kwargs)
        else:
            task.call = prepared(self.stager, task, fn, args, kwargs)
        record.depends = task.call.futures
        if task.call.futures:
            self._kernel.submit(task.future, None, task.call.futures, self, self._dependency_failed)
        else:
            self.needs_nothing_more(task)

    # -- what it needs is there

    def launch(self, future: AppFuture[Any], arguments: Any, results: list[Any]) -> None:
        """From the kernel: all that a task waited for is there."""
        future._owner = self
        with self._lock:
            task = self._tasks.get(id(future))
        if task is None:
            return
        if task.record.options.cache and task.key is None:
            self.in_helper(task, self._find_key)
        else:
            self.needs_nothing_more(task)

    def _find_key(self, task: FlowTask) -> None:
        call = task.call if task.runs_as is None else ObjectCall(task.record.func, task.record.args, task.record.kwargs)
        args, kwargs = call.values()
        record = task.record
        task.key = self.reuse.key_of(record.func, args, kwargs, record.options, record.is_app)
        del args, kwargs, call
        if not self._is_known(task):
            self.needs_nothing_more(task)

    def needs_nothing_more(self, task: FlowTask) -> None:
        """All that the task waited for is there."""
        if task.record.options.join:
            self.in_helper(task, self._run_join)
        elif isinstance(task.call, ResolvedCall):
            self.in_helper(task, self._resolve)
        else:
            self._tries.launch(task)

    def _resolve(self, task: FlowTask) -> None:
        task.call = task.call.prepared_by(task.backend)
        self._tries.launch(task)

    def _dependency_failed(self, future: AppFuture[Any], causes: list[Future[Any]]) -> object:
        record = future._record
        record.status = TaskState.dep_fail
        self.failures.told_elsewhere()
        return DependencyFailure(record.task, record.label, causes)

    # -- the same call has been done before, or is being done

    def _is_known(self, task: FlowTask) -> bool:
        """Take the result of the same call, if there is one, or will be."""
        if task.key is None:
            return False
        task.record.hashsum = task.key.digest.hex()
        found = self.reuse.begin(task.key, task.future)
        if found is None:
            task.is_first = True
            return False
        if isinstance(found, AppFuture):
            task.follows = found
            found.add_done_callback(partial(self._same_call_ended, task))
            if found._record.options.join:
                self._cycles.look_soon()
        else:
            self._remembered(task, found)
        return True

    def _remembered(self, task: FlowTask, outcome: object) -> None:
        if self._may_end(task, TaskState.memo_done):
            task.record.from_memo = True
            task.future.finish(outcome)

    def _same_call_ended(self, task: FlowTask, first: Future[Any]) -> None:
        assert isinstance(first, AppFuture)
        if task.is_over:
            return
        if not first.cancelled() and not has_failed(first):
            self._remembered(task, first._data)
        elif first.cancelled():
            self.in_helper(task, self._instead_of_cancelled)
        else:
            if self._may_end(task, TaskState.failed):
                task.record.attempts = first._record.attempts
                self.failures.told_elsewhere()
                task.future._owner = None  # to look at this one is not to look at the other
                task.future.finish(first._data)

    def _instead_of_cancelled(self, task: FlowTask) -> None:
        if not self._is_known(task):
            if task.call is None:
                self._prepare(task)
            else:
                self.needs_nothing_more(task)

    # -- join apps

    def _run_join(self, task: FlowTask) -> None:
        record = task.record
        with self._lock:
            if task.is_over:
                return
            record.status = TaskState.launched  # from here on cancel() says no
        record.try_time_launched = time.time()
        try:
            args, kwargs = task.call.values()
            value = record.func(*args, **kwargs)
            futures = joined_futures(value, record.label)
        except BaseException as error:  # the user's
            self._tries.failed_here(task, error)
            return
        if task.is_over:
            return
        record.status = TaskState.joining
        record.joins = value
        if not futures:
            self._join_ended(task, Value(value))
        elif task.future in futures:
            self._fail(task, TypeError(f"the join app {record.label} has returned its own future: it would never end"))
        else:
            self._kernel.submit(task.future, value, futures, Joiner(self), self._join_failed)
            self._cycles.look_soon()

    def _join_failed(self, future: AppFuture[Any], causes: list[Future[Any]]) -> object:
        record = future._record
        record.status = TaskState.failed
        outcome = DependencyFailure(record.task, record.label, causes, JoinError)
        self.failures.told_elsewhere()
        return outcome

    def joined(self, future: AppFuture[Any], value: Any) -> None:
        """What a join app has returned is there."""
        future._owner = self
        with self._lock:
            task = self._tasks.get(id(future))
        if task is None:
            return
        self._join_ended(task, joined(value))

    def _join_ended(self, task: FlowTask, outcome: object) -> None:
        if task.record.outputs:
            self.in_helper(task, partial(self._see_outputs, outcome=outcome))  # file systems may be slow
        else:
            self.succeed(task, outcome)

    def _see_outputs(self, task: FlowTask, outcome: object) -> None:
        """The files of a join app are those of the apps that it has called."""
        check_files(task.record)
        self.succeed(task, outcome)

    # -- ends

    def succeed(self, task: FlowTask, outcome: object) -> None:
        """It has this value."""
        if not self._may_end(task, TaskState.exec_done):
            return
        if task.is_first:
            self.reuse.keep(task.key, outcome)
            task.is_first = False
        task.future.finish(outcome)

    def _fail(self, task: FlowTask, error: BaseException) -> None:
        task.future._owner = self  # it may have waited in the kernel
        self.end_failed(task, Failure(frameless(error)))

    def end_failed(self, task: FlowTask, outcome: object) -> None:
        """Its last try has failed."""
        if self._may_end(task, TaskState.failed):
            told = self.failures.happened(task.record.task, task.record.label, outcome)
            task.future.finish(InDirectory(told, task.record) if task.record.sandbox else told)

    def _may_end(self, task: FlowTask, state: TaskState) -> bool:
        """Note how it ends; False if it has been cancelled before. From here on cancel() says no."""
        with self._lock:
            if not task.is_over:
                task.record.status = state
            return not task.is_over

    def take_back(self, task: FlowTask) -> None:
        """It was cancelled."""
        task.record.status = TaskState.cancelled
        task.future._become_cancelled()

    def _over(self, future: Future[Any]) -> None:
        """The user's future has ended, whichever way."""
        with self._lock:
            task = self._tasks.pop(id(future), None)
            if task is None:
                return
            task.is_over = True
            last = not self._tasks
        record = task.record
        record.time_returned = time.time()
        if future.cancelled():
            record.status = TaskState.cancelled
        if task.is_first:
            self.reuse.ended(task.key)
        if not self.keeps_records:
            record.let_go()
        task.call = task.runs_as = None
        if last and self._is_closing:
            self._nothing_left()

    def in_helper(self, task: FlowTask, step: Callable[[FlowTask], object]) -> None:
        """Do this step in a thread where the user's code may run. What it raises is the task's failure."""

        def run() -> None:
            if task.is_over:
                return
            try:
                step(task)
            except BaseException as error:  # the user's: a key, a result that can't be opened or pickled
                self._fail(task, error)

        with self._lock:
            if not task.is_over:  # else the pool may have ended, and the threads with it
                self.helpers.run(run)

    def begin_shutdown(self, kill: bool = False, abandoned: bool = False) -> None:
        """The pool is shut down: no new tasks, but those of join apps.

        Args:
            kill: and no further tries.
            abandoned: nobody will call `let_go`.
        """
        self._is_closing = True
        self._is_abandoned = self._is_abandoned or abandoned
        self._tries.is_ending = self._tries.is_ending or kill
        if not self._tasks:
            self._nothing_left()

    def _nothing_left(self) -> None:
        for backend in self._holding:
            backend.wake()  # it may end now
        if self._is_abandoned:
            self.let_go(wait=False)
        else:
            self.close(wait=False)

    def begin_exit(self, kill: bool) -> None:
        """The interpreter ends: as begin_shutdown. The exit hook calls this, and then join()."""
        self.begin_shutdown(kill)

    def join(self) -> bool:
        """Wait until all tasks are done, and end."""
        while self.is_busy():
            self.wait_for_current_tasks()
        self.let_go()
        return True

    def close(self, wait: bool) -> None:
        """End the threads, when no task is left. They start again if one comes after all. wait: see `Helpers`."""
        self._kernel.close()
        self.helpers.close(wait)
        self._cycles.stop()

    def let_go(self, wait: bool = True) -> None:
        """The pool has ended: write what is to be written, and close what is open. wait: see `Helpers`."""
        self.close(wait)
        with self._lock:
            ends, self._ends = self._ends, []
        if self._reuse is not None:
            self._reuse.close()
        for end in ends:
            end()

    def at_end(self, end: Callable[[], None]) -> None:
        """Call this when the pool has ended."""
        with self._lock:
            self._ends.append(end)

    def wait_for_current_tasks(self) -> None:
        """Wait until all tasks are done that are there now."""
        wait([task.future for task in self._current()])

    def _current(self) -> list[FlowTask]:
        with self._lock:
            return list(self._tasks.values())

    def cancel_all(self) -> None:
        """Cancel every task that has not begun; those that wait for others before these."""
        for task in sorted(self._current(), key=lambda task: task.order, reverse=True):
            task.future.cancel()

    def explain(self) -> list[str]:
        """For a few of the tasks: where they are."""
        with self._lock:
            some = [task for _, task in zip(range(5), self._tasks.values())]
        lines = [f"task {task.record.task} ({task.record.label}) is {task.record.status.name}" for task in some]
        return lines + self._kernel.explain()

    def disown(self) -> None:
        """In a forked child: its tasks are the parent's, and so are the checkpoints, and the run's directory."""
        error = foreign.disown(self._lock, self._tasks, self._kernel, self.helpers, self._holding)
        if error is not None:
            self._ends.clear()
            self._reuse, self.make_reuse, self.failures = None, partial(foreign.refuse, error), Failures("")

    # -- the Owner of its futures

    def cancel(self, future: AppFuture[Any]) -> bool:
        """Keep a task from beginning; it may be anywhere between two steps."""
        with self._lock:
            task = self._tasks.get(id(future))
            if task is None:
                return False
            inner = task.inner
            if inner is None:
                status = task.record.status
                if status in FINAL or (task.record.options.join and status is TaskState.launched):
                    return False
                task.is_over = True
                return True
        return inner.cancel()

    def needs_of(self, future: AppFuture[Any]) -> list[Future[Any]]:
        """The same call, which is under way, if it waits for that."""
        with self._lock:
            task = self._tasks.get(id(future))
            return [task.follows] if task is not None and task.follows is not None else []

    def kill(self, future: AppFuture[Any]) -> bool:
        """Stop the try that runs."""
        inner = self._try_of(future)
        return inner is not None and inner.kill()

    def _try_of(self, future: AppFuture[Any]) -> AppFuture[Any] | None:
        with self._lock:
            task = self._tasks.get(id(future))
            return task.inner if task is not None else None

    def stop(self, future: AppFuture[Any]) -> bool:
        """Ask the try that runs to stop; none will follow."""
        told_by(future._record).is_stopping = True
        inner = self._try_of(future)
        return inner is not None and inner.stop()

    def is_running(self, future: AppFuture[Any]) -> bool:
        """True if a worker has begun the present try."""
        inner = self._try_of(future)
        return inner is not None and inner.running()

    def failure_seen(self, future: AppFuture[Any]) -> None:
        """Somebody has looked at a failed future."""
        self.failures.seen(future.tid)

    def name_of(self, future: AppFuture[Any]) -> str:
        """Its label, or its function's name."""
        return str(future._record.label)

    def pump(self, future: AppFuture[Any], deadline: float | None) -> bool:
        """Bring results as long as there is a try that waits for one."""
        while not future.done():
            inner = self._try_of(future)
            owner = inner._owner if inner is not None else None
            if inner is None or owner is None or inner.done() or not owner.pump(inner, deadline):
                return False
            if deadline is not None and time.monotonic() >= deadline:
                return True
        return True
