"""The tries of a flow's tasks: launched, ended, and what comes after a failure."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from functools import partial
from typing import Any, Protocol

from parsl_pool.dataflow.failures import error_in, summary_of
from parsl_pool.dataflow.flow_task import FlowTask
from parsl_pool.dataflow.helpers import Helpers
from parsl_pool.dataflow.kernel import payload_of, pickled
from parsl_pool.dataflow.retrying import cost_of, delay_before
from parsl_pool.futures import AppFuture, Failure, frameless, has_failed
from parsl_pool.futures.outcome import Value
from parsl_pool.futures.states import Attempt, TaskState
from parsl_pool.futures.told import known_of


class Steps(Protocol):
    """The steps of a flow that come before a try, and after it."""

    def needs_nothing_more(self, task: FlowTask) -> None: ...

    def in_helper(self, task: FlowTask, step: Callable[[FlowTask], object]) -> None: ...

    def succeed(self, task: FlowTask, outcome: object) -> None: ...

    def end_failed(self, task: FlowTask, outcome: object) -> None: ...

    def take_back(self, task: FlowTask) -> None: ...


class FlowTries:
    """The tries of one flow.

    Attributes:
        retried: how many there were beyond the first ones.
        is_ending: the pool is being killed: no more of them.
    """

    def __init__(self, flow: Steps, lock: threading.Lock, helpers: Helpers) -> None:
        self._flow, self._lock, self._helpers = flow, lock, helpers  # the lock is the flow's
        self.retried = 0
        self.is_ending = False

    def launch(self, task: FlowTask) -> None:
        """Begin a try: all that the task needs is there."""
        call = task.call
        if not (call.futures and task.backend.wants_payloads):
            self._launch_with(task, [])
            return
        payloads = [payload_of(needed) for needed in call.futures]
        if any(payload is None for payload in payloads):
            self._flow.in_helper(task, self._pickle_and_launch)
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
            inner = task.backend.launch_try(task.call, payloads, options, record)
        except BaseException as error:  # the pool is broken, or has ended
            self.failed_here(task, error)
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
        for attempt in inner.attempts:
            record.attempts.append(attempt._replace(number=len(record.attempts)))
        if inner.cancelled():
            self._flow.take_back(task)
        elif not has_failed(inner):
            if record.options.result == "ref":
                try:
                    outcome = Value(task.backend.objects.keep(outcome))
                except Exception as problem:  # no memory for it; the task's future says so
                    self._flow.end_failed(task, Failure(frameless(problem)))
                    return
            self._flow.succeed(task, outcome)
        else:
            owner = inner._owner
            if owner is not None:
                owner.failure_seen(inner)  # it is ours to tell of now
            self._try_failed(task, outcome)

    def _try_failed(self, task: FlowTask, outcome: Any) -> None:
        record = task.record
        told = known_of(record)
        is_stopping = told is not None and told.is_stopping  # the user wants it no more
        if self.is_ending or is_stopping or task.backend.broken is not None:
            self._flow.end_failed(task, outcome)
        elif record.options.retry_handler is not None:
            self._flow.in_helper(task, partial(self._decide, outcome=outcome))
        else:
            goes_on = record.charge(1.0)
            if goes_on and (record.options.retry_delay or record.options.join):
                self._try_again(task)
            else:
                self._flow.end_failed(task, outcome)

    def _decide(self, task: FlowTask, outcome: Any) -> None:
        error = error_in(outcome)
        try:
            cost = cost_of(error, task.record)
        except BaseException as problem:  # the handler's own: no more tries
            problem.__context__ = None
            if problem is not error:
                problem.__cause__ = problem.__cause__ or error
            self._flow.end_failed(task, Failure(frameless(problem)))
            return
        if task.record.charge(cost):
            self._try_again(task)
        else:
            self._flow.end_failed(task, outcome)

    def failed_here(self, task: FlowTask, error: BaseException) -> None:
        """A try that no executor has seen: a join app's, or one that could not be launched."""
        record = task.record
        record.attempts.append(
            Attempt(record.fail_count, "", record.try_time_launched or 0.0, time.time(), summary_of(Failure(error)))
        )
        self._try_failed(task, Failure(frameless(error)))

    def _try_again(self, task: FlowTask) -> None:
        if task.is_over:
            return
        self.retried += 1
        task.record.status = TaskState.fail_retryable
        delay = delay_before(task.record)
        again = partial(self._flow.in_helper, task, self._again)
        if delay:
            self._helpers.run_later(delay, again)
        else:
            again()

    def _again(self, task: FlowTask) -> None:
        task.record.status = TaskState.pending
        self._flow.needs_nothing_more(task)
