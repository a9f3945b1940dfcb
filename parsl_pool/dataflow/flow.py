"""Tasks that take more than one step: joins, memoization, retries that the user's code decides.

A plain call goes to its executor with one future, and never comes here. For these there are two: the user's, and one
for each try, which the executor knows. Steps follow one another as events: submitted, what it needs is there, a try
has ended, what it joined has ended. Between two steps nothing holds a thread. What the user's code has a part in
(handlers, keys, join apps, values that have to be opened) runs in helper threads.
"""

from __future__ import annotations

import threading
import time
import warnings
from collections.abc import Callable
from concurrent.futures import CancelledError, Future, wait
from functools import partial
from typing import Any, NamedTuple

from parsl_pool.dataflow.flow_task import Backend, FlowTask
from parsl_pool.dataflow.helpers import Helpers
from parsl_pool.dataflow.joining import joined, joined_futures
from parsl_pool.dataflow.kernel import DependencyFailure, Kernel, payload_of, pickled
from parsl_pool.dataflow.record import FlowRecord, Options
from parsl_pool.dataflow.resolvers import ResolvedCall
from parsl_pool.dataflow.retrying import cost_of, delay_before
from parsl_pool.dataflow.reuse import NoReuse, Reuse
from parsl_pool.dataflow.traverse import ObjectCall
from parsl_pool.errors import JoinError, described
from parsl_pool.files import File
from parsl_pool.futures import AppFuture, Failure, LiftingFuture, Value, frameless, has_failed
from parsl_pool.futures.data_future import DataFuture
from parsl_pool.futures.states import Attempt, TaskState

_KEEP_UNREAD = 100


class Call(NamedTuple):
    """A call as the user has made it.

    Attributes:
        fn, args, kwargs: the call: what records tell, and what decides whether two calls are the same.
        runs_as: (fn, args, kwargs) of what is launched instead; None: the call itself.
        task: its number, if it was needed before.
        stdout, stderr, outputs: for the future's attributes of these names.
        is_app: an app's: some of its keywords are special.
    """

    fn: Callable[..., Any]
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    runs_as: tuple[Callable[..., Any], tuple[Any, ...], dict[str, Any]] | None = None
    task: int | None = None
    stdout: str | None = None
    stderr: str | None = None
    outputs: tuple[File, ...] = ()
    is_app: bool = False


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
        self._is_closing = self._is_ending = self._is_abandoned = False
        self.done = self.failed = self.retried = self.seen = 0
        self._name = name
        self._unread: dict[int, str] = {}  # a few failures that nobody has looked at

    @property
    def reuse(self) -> Reuse:
        """Who remembers results."""
        if self._reuse is None:
            made = self.make_reuse(self.helpers)
            with self._lock:
                self._reuse = self._reuse or made
        return self._reuse

    def __len__(self) -> int:
        return len(self._tasks)

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
        record.func, record.args, record.kwargs, record.app_fu = fn, call.args, call.kwargs, future
        record.executor = backend.label
        record.status = TaskState.pending
        task = FlowTask(future, record, backend, call.runs_as)
        with self._lock:
            self._tasks[id(future)] = task
        future.add_done_callback(self._over)
        record.stdout, record.stderr, record.is_app = call.stdout, call.stderr, call.is_app
        record.outputs = tuple(DataFuture(future, file) for file in call.outputs)
        try:
            if not options.cache or not self._has_key(task, call.args, call.kwargs) or not self._is_known(task):
                self._prepare(task)
        except BaseException as error:  # what can't be pickled, or has no key
            self._fail(task, error)
        return future

    def _has_key(self, task: FlowTask, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
        """True if the key could be made at once: there are no futures among the arguments."""
        task.key = self.reuse.key_of(task.record, args, kwargs)
        return task.key is not None

    def _prepare(self, task: FlowTask) -> None:
        record = task.record
        resolver = record.options.dependency_resolver
        fn, args, kwargs = task.runs_as or (record.func, record.args, record.kwargs)
        if resolver is not None:
            task.call = ResolvedCall(fn, args, kwargs, resolver)
        elif record.options.join:
            task.call = ObjectCall(fn, args, kwargs)
        else:
            task.call = task.backend.prepare(fn, args, kwargs)
        record.depends = task.call.futures
        if task.call.futures:
            self._kernel.submit(task.future, None, task.call.futures, self, self._dependency_failed)
        else:
            self._needs_nothing_more(task)

    # -- what it needs is there

    def launch(self, future: AppFuture[Any], arguments: Any, results: list[Any]) -> None:
        """From the kernel: all that a task waited for is there."""
        future._owner = self
        with self._lock:
            task = self._tasks.get(id(future))
        if task is None:
            return
        if task.record.options.cache and task.key is None:
            self._in_helper(task, self._find_key)
        else:
            self._needs_nothing_more(task)

    def _find_key(self, task: FlowTask) -> None:
        call = task.call if task.runs_as is None else ObjectCall(task.record.func, task.record.args, task.record.kwargs)
        args, kwargs = call.values()
        task.key = self.reuse.key_of(task.record, args, kwargs)
        del args, kwargs, call
        if not self._is_known(task):
            self._needs_nothing_more(task)

    def _needs_nothing_more(self, task: FlowTask) -> None:
        if task.record.options.join:
            self._in_helper(task, self._run_join)
        elif isinstance(task.call, ResolvedCall):
            self._in_helper(task, self._resolve)
        else:
            self._launch(task)

    def _resolve(self, task: FlowTask) -> None:
        task.call = task.call.prepared_by(task.backend)
        self._launch(task)

    def _dependency_failed(self, future: AppFuture[Any], causes: list[Future[Any]]) -> object:
        record = future._record
        record.status = TaskState.dep_fail
        self.failed += 1
        self.seen += 1  # it is the failure of what it needs, which is counted there
        return DependencyFailure(record.task, causes)

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
            found.add_done_callback(partial(self._same_call_ended, task))
        else:
            self._remembered(task, found)
        return True

    def _remembered(self, task: FlowTask, outcome: object) -> None:
        task.record.from_memo = True
        task.record.status = TaskState.memo_done
        task.future.finish(outcome)

    def _same_call_ended(self, task: FlowTask, first: Future[Any]) -> None:
        assert isinstance(first, AppFuture)
        if task.is_over:
            return
        if not first.cancelled() and not has_failed(first):
            self._remembered(task, first._data)
        elif first.cancelled():
            self._in_helper(task, self._instead_of_cancelled)
        else:
            task.record.attempts = first._record.attempts
            self._end_failed(task, first._data)

    def _instead_of_cancelled(self, task: FlowTask) -> None:
        if not self._is_known(task):
            if task.call is None:
                self._prepare(task)
            else:
                self._needs_nothing_more(task)

    # -- tries

    def _launch(self, task: FlowTask) -> None:
        call = task.call
        if not (call.futures and task.backend.wants_payloads):
            self._launch_with(task, [])
            return
        payloads = [payload_of(needed) for needed in call.futures]
        if any(payload is None for payload in payloads):
            self._in_helper(task, self._pickle_and_launch)
        else:
            self._launch_with(task, payloads)

    def _pickle_and_launch(self, task: FlowTask) -> None:
        self._launch_with(task, [payload_of(needed) or pickled(needed) for needed in task.call.futures])

    def _launch_with(self, task: FlowTask, payloads: list[Any]) -> None:
        record = task.record
        if task.is_over:
            return
        record.status = TaskState.launched
        record.try_time_launched = time.time()
        decides_here = record.options.retry_handler is not None or record.options.retry_delay
        options = record.options._replace(retries=0) if decides_here else record.options
        try:
            inner = task.backend.launch_try(task.call, payloads, options)
        except BaseException as error:  # the pool is broken, or has ended
            self._failed_here(task, error)
            return
        with self._lock:
            task.inner = record.exec_fu = inner
            is_over = task.is_over
        if is_over:  # cancelled while it was launched
            inner.kill()
        inner.add_done_callback(partial(self._try_ended, task))

    def _try_ended(self, task: FlowTask, future: Future[Any]) -> None:
        assert isinstance(future, AppFuture)
        record, inner, outcome = task.record, future, future._data
        record.try_time_returned = time.time()
        with self._lock:
            task.inner = record.exec_fu = None
        for attempt in inner._record.attempts if inner._record is not None else ():
            record.attempts.append(attempt._replace(number=len(record.attempts)))
        if inner.cancelled():
            self._take_back(task)
        elif not has_failed(inner):
            self._succeed(task, outcome)
        else:
            owner = inner._owner
            if owner is not None:
                owner.failure_seen(inner)  # it is ours to tell of now
            self._try_failed(task, outcome)

    def _try_failed(self, task: FlowTask, outcome: Any) -> None:
        record = task.record
        if self._is_ending or task.backend.broken is not None:
            self._end_failed(task, outcome)
        elif record.options.retry_handler is not None:
            self._in_helper(task, partial(self._decide, outcome=outcome))
        else:
            record.fail_cost += 1.0
            decides_here = record.options.retry_delay or record.options.join
            if decides_here and record.fail_cost <= record.options.retries:
                self._try_again(task)
            else:
                self._end_failed(task, outcome)

    def _decide(self, task: FlowTask, outcome: Any) -> None:
        error = _error_in(outcome)
        try:
            cost = cost_of(error, task.record)
        except BaseException as problem:  # the handler's own: no more tries
            problem.__context__ = None
            if problem is not error:
                problem.__cause__ = problem.__cause__ or error
            self._end_failed(task, Failure(frameless(problem)))
            return
        task.record.fail_cost += cost
        if task.record.fail_cost <= task.record.options.retries:
            self._try_again(task)
        else:
            self._end_failed(task, outcome)

    def _failed_here(self, task: FlowTask, error: BaseException) -> None:
        """A try that no executor has seen: a join app's, or one that could not be launched."""
        record = task.record
        record.attempts.append(
            Attempt(record.fail_count, "", record.try_time_launched or 0.0, time.time(), _summary(Failure(error)))
        )
        self._try_failed(task, Failure(frameless(error)))

    def _try_again(self, task: FlowTask) -> None:
        if task.is_over:
            return
        self.retried += 1
        task.record.status = TaskState.fail_retryable
        delay = delay_before(task.record)
        again = partial(self._in_helper, task, self._again)
        if delay:
            self.helpers.run_later(delay, again)
        else:
            again()

    def _again(self, task: FlowTask) -> None:
        task.record.status = TaskState.pending
        self._needs_nothing_more(task)

    # -- join apps

    def _run_join(self, task: FlowTask) -> None:
        record = task.record
        record.status = TaskState.launched
        record.try_time_launched = time.time()
        try:
            args, kwargs = task.call.values()
            value = record.func(*args, **kwargs)
            futures = joined_futures(value, record.label)
        except BaseException as error:  # the user's
            self._failed_here(task, error)
            return
        if task.is_over:
            return
        record.status = TaskState.joining
        record.joins = value
        if not futures:
            self._succeed(task, Value(value))
        elif task.future in futures:
            self._fail(task, TypeError(f"the join app {record.label} has returned its own future: it would never end"))
        else:
            self._kernel.submit(task.future, value, futures, _Joiner(self), self._join_failed)

    def _join_failed(self, future: AppFuture[Any], causes: list[Future[Any]]) -> object:
        record = future._record
        record.status = TaskState.failed
        self.failed += 1
        return DependencyFailure(record.task, causes, JoinError)

    def joined(self, future: AppFuture[Any], value: Any) -> None:
        """What a join app has returned is there."""
        future._owner = self
        with self._lock:
            task = self._tasks.get(id(future))
        if task is None:
            return
        if isinstance(value, Future) and not isinstance(value, AppFuture):
            self._succeed(task, Value(value.result()))
        else:
            self._succeed(task, joined(value))

    # -- ends

    def _succeed(self, task: FlowTask, outcome: object) -> None:
        task.record.status = TaskState.exec_done
        if task.is_first:
            self.reuse.keep(task.key, outcome)
            task.is_first = False
        task.future.finish(outcome)

    def _fail(self, task: FlowTask, error: BaseException) -> None:
        self._end_failed(task, Failure(frameless(error)))

    def _end_failed(self, task: FlowTask, outcome: object) -> None:
        task.record.status = TaskState.failed
        self.failed += 1
        if len(self._unread) < _KEEP_UNREAD:
            self._unread[task.record.task] = f"{task.record.label}: {_summary(outcome)}"
        if type(outcome) is Failure:
            outcome = Unread(outcome.error)
        task.future.finish(outcome)

    def _take_back(self, task: FlowTask) -> None:
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
        self.done += 1
        record.let_go()
        task.call = task.runs_as = None
        if last and self._is_closing:
            self._nothing_left()

    def _in_helper(self, task: FlowTask, step: Callable[[FlowTask], object]) -> None:
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
        self._is_ending = self._is_ending or kill
        if not self._tasks:
            self._nothing_left()

    def _nothing_left(self) -> None:
        for backend in self._holding:
            backend.wake()  # it may end now
        if self._is_abandoned:
            self.let_go(wait=False)
        else:
            self.close(wait=False)

    # The interpreter ends: what the exit hook calls.

    def begin_exit(self, kill: bool) -> None:
        """As begin_shutdown."""
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
        with self._lock:
            futures = [task.future for task in self._tasks.values()]
        wait(futures)

    def cancel_all(self) -> None:
        """Cancel every task that has not begun."""
        with self._lock:
            futures = [task.future for task in self._tasks.values()]
        for future in reversed(futures):
            future.cancel()

    def explain(self) -> list[str]:
        """For a few of the tasks: where they are."""
        with self._lock:
            some = [task for _, task in zip(range(5), self._tasks.values())]
        lines = [f"task {task.record.task} ({task.record.label}) is {task.record.status.name}" for task in some]
        return lines + self._kernel.explain()

    # -- the Owner of its futures

    def cancel(self, future: AppFuture[Any]) -> bool:
        """Keep a task from beginning; it may be anywhere between two steps."""
        with self._lock:
            task = self._tasks.get(id(future))
            if task is None:
                return False
            inner = task.inner
            if inner is None:
                running = task.record.options.join and task.record.status is TaskState.launched
                task.is_over = not running
                return not running
        return inner.cancel()

    def kill(self, future: AppFuture[Any]) -> bool:
        """Stop the try that runs."""
        with self._lock:
            task = self._tasks.get(id(future))
            inner = task.inner if task is not None else None
        return inner is not None and inner.kill()

    def is_running(self, future: AppFuture[Any]) -> bool:
        """True if a worker has begun the present try."""
        with self._lock:
            task = self._tasks.get(id(future))
            inner = task.inner if task is not None else None
        return inner is not None and inner.running()

    def failure_seen(self, future: AppFuture[Any]) -> None:
        """Somebody has looked at a failed future."""
        self.seen += 1
        self._unread.pop(future.tid, None)

    def report_unread(self) -> None:
        """Failures that nobody looked at are told when the pool ends."""
        unread, self.seen = self.failed - self.seen, self.failed
        if unread > 0 and self._unread:
            task, story = next(iter(self._unread.items()))
            tasks = "1 task" if unread == 1 else f"{unread} tasks"
            warnings.warn(
                f"{tasks} of pool {self._name} failed, and nobody looked at the results. One of them was task {task} "
                f"({story})",
                RuntimeWarning,
                stacklevel=5,
            )

    def name_of(self, future: AppFuture[Any]) -> str:
        """Its label, or its function's name."""
        return str(future._record.label)

    def pump(self, future: AppFuture[Any], deadline: float | None) -> bool:
        """Bring results as long as there is a try that waits for one."""
        while not future.done():
            with self._lock:
                task = self._tasks.get(id(future))
                inner = task.inner if task is not None else None
            owner = inner._owner if inner is not None else None
            if inner is None or owner is None or inner.done() or not owner.pump(inner, deadline):
                return False
            if deadline is not None and time.monotonic() >= deadline:
                return True
        return True


class _Joiner:
    """Where the kernel reports that joined futures are done."""

    wants_payloads = False

    def __init__(self, flow: Flow) -> None:
        self._flow = flow

    def launch(self, future: AppFuture[Any], arguments: Any, results: list[Any]) -> None:
        """They have values."""
        self._flow.joined(future, arguments)

    def name_of(self, future: AppFuture[Any]) -> str:
        """As the flow."""
        return self._flow.name_of(future)


class Unread:
    """A failure that nobody has looked at: who does opens it, and then it is noted."""

    __slots__ = ("_error",)
    failed = True

    def __init__(self, error: BaseException) -> None:
        self._error = error

    def open(self) -> Any:
        """Raises the error."""
        raise self._error

    def summary(self) -> str:
        """The error in words."""
        return described(self._error)


def _error_in(outcome: Any) -> BaseException:
    """The error of a failed try, opened."""
    if type(outcome) is Failure:
        return outcome.error
    try:
        outcome.open()
    except BaseException as error:  # the task's
        return error.with_traceback(None)
    return CancelledError()  # it had failed, and now it has not


def _summary(outcome: Any) -> str:
    try:
        text = str(outcome.summary()) if hasattr(outcome, "summary") else repr(_error_in(outcome))
        return text.split("\n", 1)[0][:200]
    except Exception as problem:  # a __str__ of the user's
        return f"an error that can't be shown ({type(problem).__name__})"
