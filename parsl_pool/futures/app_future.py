"""`AppFuture`: a `concurrent.futures.Future` that costs little until somebody waits for it.

A plain Future makes a condition, a lock and two lists at birth: most of a small task's price. Here they are made
on first use, through the very attributes that the standard library's `wait`, `as_completed` and
`asyncio.wrap_future` touch, so that those work unchanged, also on mixtures with other executors' futures.

The rule that keeps this safe: whoever finds `_cond` to be None may only act under `_BURST`, a lock under which
nothing else is ever taken and no user code runs. A reply thread finishes many futures under one hold of it.
The one exception is a signal's handler, which runs where it likes: threads that may be the main one call nothing
between the question and the act, for handlers only come in at calls.

A result stays the bytes that came until somebody asks: they are opened in that thread, for unpickling runs user
code, imports and takes locks.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import CancelledError, Future, InvalidStateError
from concurrent.futures import TimeoutError as FuturesTimeoutError
from concurrent.futures._base import CANCELLED as CANCELLED
from concurrent.futures._base import CANCELLED_AND_NOTIFIED as CANCELLED_AND_NOTIFIED
from concurrent.futures._base import FINISHED as FINISHED
from concurrent.futures._base import PENDING as PENDING
from concurrent.futures._base import RUNNING as RUNNING
from time import monotonic
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

from parsl_pool import checks
from parsl_pool.errors import InternalError
from parsl_pool.futures.condition import FutureCondition
from parsl_pool.futures.outcome import Failure, Value, opened_outcome
from parsl_pool.loggers import tell_of

if TYPE_CHECKING:
    from parsl_pool.futures.data_future import DataFuture
    from parsl_pool.futures.states import Attempt
    from parsl_pool.futures.told import Progress

T = TypeVar("T")

_LOGGER = logging.getLogger("concurrent.futures")

# Reentrant for signals' handlers, and because the last reference to somebody's object may go while it is held, or
# the garbage collector run, and what the user's finalizer does then may lead here again.
_BURST = threading.RLock()  # guards every `_cond` that is None, and the change from unopened to opened

OVER = frozenset({FINISHED, CANCELLED, CANCELLED_AND_NOTIFIED})
"""The states of a future that will not change any more."""


def _after_fork_in_child() -> None:
    _BURST._at_fork_reinit()  # type: ignore[attr-defined]  # another thread of the parent may have held it


os.register_at_fork(after_in_child=_after_fork_in_child)


class FutureInArguments(Exception):
    """Raised when a future is pickled: the arguments have a dependency among them."""


class Owner(Protocol):
    """Who moves a future forward."""

    def cancel(self, future: AppFuture[Any]) -> bool:
        """Make sure that the task won't start, and forget it. False if it may have started."""

    def kill(self, future: AppFuture[Any]) -> bool:
        """Stop the task if it runs. False if there was nothing to stop."""

    def is_running(self, future: AppFuture[Any]) -> bool:
        """True if a worker has begun the task."""

    def failure_seen(self, future: AppFuture[Any]) -> None:
        """Somebody has looked at a failed future."""

    def name_of(self, future: AppFuture[Any]) -> str:
        """What people know the task by: its label, or its function's name."""

    def pump(self, future: AppFuture[Any], deadline: float | None) -> bool:
        """If this thread is one that brings results, bring them until the future is done, or the time has come.

        False if others are to bring it.
        """


class AppFuture(Future[T], Generic[T]):
    """The result to come of one task.

    Attributes:
        tid: number of the task, unique within its pool.
    """

    __slots__ = ("_cond", "_data", "_fn", "_owner", "_record", "_state", "_tid")

    _state: str
    _tid: int
    _fn: int
    _owner: Owner | None
    _data: Any  # first what is to be sent; then bytes of a value, an Unopened, a Value or a Failure
    _cond: FutureCondition | None
    _record: Any  # what the kernel knows about a task that is not the simplest kind; else None

    def __init__(self) -> None:
        self._state = PENDING
        self._tid = self._fn = 0
        self._owner = self._data = self._cond = self._record = None

    # -- what the standard library touches: attributes there, and typed so, for `wait` and `as_completed`

    if TYPE_CHECKING:
        _done_callbacks: list[Callable[[Any], object]]
    else:

        @property
        def _condition(self) -> FutureCondition:
            condition = self._cond
            if condition is None:
                made = FutureCondition()
                with _BURST:
                    if self._cond is None:
                        self._cond = made
                    condition = self._cond
            return condition

        @property
        def _waiters(self) -> list[Any]:
            waiters: list[Any] = self.__dict__.setdefault("waiters", [])
            return waiters

        @property
        def _done_callbacks(self) -> list[Callable[[Any], object]]:
            callbacks: list[Callable[[Any], object]] = self.__dict__.setdefault("callbacks", [])
            return callbacks

        @property
        def _result(self) -> Any:
            outcome = self._outcome() if self._state == FINISHED else None
            return outcome.value if type(outcome) is Value else None

        @property
        def _exception(self) -> BaseException | None:
            outcome = self._outcome() if self._state == FINISHED else None
            return outcome.error if type(outcome) is Failure else None

    # -- questions

    @property
    def tid(self) -> int:
        """Number of the task, unique within its pool."""
        return (self._record.task or self._tid) if self._record is not None else self._tid

    def done(self) -> bool:
        """True if the task has finished, failed or been cancelled."""
        return self._state in OVER

    def cancelled(self) -> bool:
        """True if the task was cancelled before it began."""
        return self._state in (CANCELLED, CANCELLED_AND_NOTIFIED)

    def has_failed(self) -> bool:
        """Whether it is done and has no value, as far as can be told without opening it."""
        state, data = self._state, self._data
        if state != FINISHED:
            return state in OVER
        return type(data) is not bytes and (type(data) is Failure or getattr(data, "failed", False))

    def running(self) -> bool:
        """True if a worker has begun the task and not finished it, as far as can be seen from here."""
        if self._state in OVER:
            return False
        return self._state == RUNNING or (self._owner is not None and self._owner.is_running(self))

    def result(self, timeout: float | None = None) -> T:
        """What the task returned, waiting for it at most `timeout` seconds.

        Raises:
            TimeoutError: it has not finished by then.
            CancelledError: it was cancelled.
            BaseException: whatever the task raised.
        """
        if self._state != FINISHED:
            self._wait(timeout)
        outcome = self._outcome()
        if type(outcome) is Value:
            return outcome.value  # type: ignore[return-value]  # what the task returned
        try:
            raise outcome.error
        finally:
            del self, outcome  # break the cycle of frame and traceback

    def exception(self, timeout: float | None = None) -> BaseException | None:
        """What the task raised, or None; waits at most `timeout` seconds. Raises as `result`."""
        if self._state != FINISHED:
            self._wait(timeout)
        outcome = self._outcome()
        return None if type(outcome) is Value else outcome.error

    def _wait(self, timeout: float | None) -> None:
        if timeout is not None:
            timeout = checks.timeout("timeout", timeout)
        deadline = None if timeout is None else monotonic() + timeout
        if not (self._owner is not None and self._owner.pump(self, deadline)):
            condition = self._condition
            with condition:
                while self._state not in OVER:
                    left = None if deadline is None else deadline - monotonic()
                    if left is not None and left <= 0:
                        break
                    condition.wait(left)
        if self._state == FINISHED:
            return
        if self._state in OVER:
            raise CancelledError
        raise FuturesTimeoutError(f"task {self.tid} has not finished in the time given")

    def _outcome(self) -> Any:
        """The Value or Failure; opened in this thread if nobody has yet."""
        data = self._data
        if type(data) is Value or type(data) is Failure:
            return data
        opened, interruption = opened_outcome(data)
        mine = opened  # let go only after the lock: it may end with a finalizer of the user's
        with _BURST:
            if self._data is data:
                self._data = opened
            else:
                opened = self._data  # another thread was faster; all must see one object
        del mine
        if interruption is not None:
            raise interruption
        if type(opened) is Failure and self._owner is not None:
            self._owner.failure_seen(self)
        return opened

    # -- parts of the value, before it is there

    def __getitem__(self, key: Any) -> AppFuture[Any]:
        """A future of `result()[key]`; what is missing shows there, not here."""
        from parsl_pool.futures.lifted import lift  # rarely needed

        part: AppFuture[Any] = LiftingFuture() if isinstance(self, LiftingFuture) else AppFuture()
        lift(part, self, "item", key)
        return part

    if not TYPE_CHECKING:
        # A value may be of any length; `[key]` alone would make it look like an endless sequence.
        __iter__ = None
        __contains__ = None

    def __await__(self) -> Generator[Any, None, T]:
        import asyncio  # whoever awaits has loaded it

        return asyncio.wrap_future(self).__await__()

    # -- what is known of the task

    def task_status(self) -> str:
        """Where the task is: the name of a `TaskState`."""
        from parsl_pool.futures.stories import status_of  # rarely needed, as below

        return status_of(self).name

    @property
    def reason(self) -> str | None:
        """Why it has no value, in a word or two, of `parsl_pool.futures.stories.REASONS`; None if it has, or may
        still get one."""
        from parsl_pool.futures.stories import why  # rarely needed

        return why(self)[0]

    @property
    def culprit(self) -> str | None:
        """Whose fault that is, "task", "place", "user" or "config"; None if it has a value, or may still get one."""
        from parsl_pool.futures.stories import why  # rarely needed

        return why(self)[1]

    @property
    def attempts(self) -> tuple[Attempt, ...]:
        """The tries that failed: where, when, with what error."""
        if self._record is not None:
            return tuple(self._record.attempts)
        attempt = getattr(self._data, "attempt", None)
        return () if attempt is None else (attempt,)

    @property
    def progress(self) -> Progress | None:
        """How far the task is, as it has said by `parsl_pool.task.progress`: fraction, text, when. None: nothing."""
        from parsl_pool.futures.told import progress_of  # rarely needed, as below

        return progress_of(self)

    @property
    def stdout(self) -> str | DataFuture | None:
        """Where the standard output of a bash app goes: a path; of a `File`, its `DataFuture`; None: to no file."""
        path: str | DataFuture | None = getattr(self._record, "stdout", None)
        return path

    @property
    def stderr(self) -> str | DataFuture | None:
        """Where the standard error of a bash app goes: a path; of a `File`, its `DataFuture`; None: to no file."""
        path: str | DataFuture | None = getattr(self._record, "stderr", None)
        return path

    @property
    def sandbox(self) -> str | None:
        """Directory of its last try, or of the one under way, if each has its own; after a success it is gone."""
        path: str | None = getattr(self._record, "directory", None)
        return path

    @property
    def outputs(self) -> Sequence[Any]:
        """A DataFuture for each file that was named as an output."""
        return getattr(self._record, "outputs", ())

    # -- what moves it

    def cancel(self) -> bool:
        """Keep the task from starting, wherever it waits.

        Returns:
            True if it will never run; False if it has begun, or is over.
        """
        if self._state in (CANCELLED, CANCELLED_AND_NOTIFIED):
            return True
        if self._state in (RUNNING, FINISHED) or (self._owner is not None and not self._owner.cancel(self)):
            return self.cancelled()
        return self._become_cancelled()

    def _become_cancelled(self) -> bool:
        with self._condition:
            if self._state in OVER:
                return self._state != FINISHED
            self._state = CANCELLED_AND_NOTIFIED
            self._data = None
            for waiter in self.__dict__.get("waiters", ()):
                waiter.add_cancelled(self)
            self._condition.notify_all()
        self._call_back()
        return True

    def kill(self) -> bool:
        """Stop the task: cancel it if it has not begun, end the worker that runs it if it has.

        Returns:
            True if the task was cancelled or its worker is being ended; the future ends as cancelled.
            False if it was over.
        """
        if self.cancel():
            return True
        return self._state != FINISHED and self._owner is not None and self._owner.kill(self)

    def stop(self) -> bool:
        """Ask the task to end early: cancel it if it has not begun; else `parsl_pool.task.should_stop()` is true in it.

        Returns:
            True if the task was cancelled, or is being asked; False if it is over, or does not run where it can be
            asked. What a task that was asked returns is its result; if it fails, it is not tried again.
        """
        from parsl_pool.futures.told import stop  # as above

        return stop(self)

    def finish(self, data: object) -> None:
        """End the future with an outcome; for whoever owns it. Waiters and callbacks are told."""
        with self._condition:
            if self._state in OVER:
                return
            self._data = data
            self._state = FINISHED
            failed = type(data) is Failure or getattr(data, "failed", False)
            for waiter in self.__dict__.get("waiters", ()):
                (waiter.add_exception if failed else waiter.add_result)(self)
            self._condition.notify_all()
        self._call_back()

    def disown(self, error: BaseException) -> None:
        """In a forked child: this is a copy, whose waiters would wait for ever. Nothing is called back."""
        if self._state not in OVER:
            self._cond = None  # it may be locked, by a thread that is not there
            self._data = Failure(error)
            self._state = FINISHED

    def _call_back(self) -> None:
        """Run the callbacks. They run in the thread that brings everybody's results: nothing may end that."""
        for callback in self._done_callbacks:
            try:
                callback(self)
            except BaseException:  # SystemExit and Ctrl-C too; logged where the standard library logs it
                tell_of(_LOGGER, "exception calling callback for %r", self)

    def set_result(self, result: Any) -> None:
        """End with a value; as in the base class, for executors and tests."""
        self._check_not_over()
        self.finish(Value(result))

    def set_exception(self, exception: BaseException | None) -> None:
        """End with an error; as in the base class, for executors and tests."""
        self._check_not_over()
        if exception is None:
            raise InternalError("set_exception(None)")
        self.finish(Failure(exception))

    def _check_not_over(self) -> None:
        if self._state in OVER:
            raise InvalidStateError(f"{self._state}: {self!r}")

    def __reduce_ex__(self, protocol: Any) -> Any:
        # Seen by the pickler of a task's arguments, which then takes the way for tasks with dependencies.
        raise FutureInArguments("a future can't be pickled; as an argument of submit() or map() it is awaited")

    def __repr__(self) -> str:
        state = {CANCELLED_AND_NOTIFIED: "cancelled", CANCELLED: "cancelled"}.get(self._state, self._state.lower())
        if state == "pending" and self.running():
            state = "running"
        if self._state == FINISHED:
            data = self._data
            if type(data) is Value:
                state = f"finished returned {type(data.value).__name__}"
            elif type(data) is Failure:
                state = f"finished raised {type(data.error).__name__}"
        return f"<AppFuture task {self.tid} at {id(self):#x} state={state}>"


class LiftingFuture(AppFuture[T]):
    """The future of an app's call: `future.name` is a future of `result().name`.

    Not so those of `submit`: programs written for other executors ask futures whether they have this or that
    attribute, and would be told yes.
    """

    __slots__ = ()

    if not TYPE_CHECKING:  # it would have a future pass for everything that has any methods

        def __getattr__(self, name: str) -> AppFuture[Any]:
            """For names without an underscore before them; what is missing shows in the new future."""
            if name.startswith("_"):
                raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
            from parsl_pool.futures.lifted import lift  # rarely needed

            part = LiftingFuture()
            lift(part, self, "attribute", name)
            return part


def has_failed(future: Future[Any]) -> bool:
    """Whether a future that is done has no value, as far as can be told without opening it."""
    if isinstance(future, AppFuture):
        return future.has_failed()
    return future.cancelled() or future.exception() is not None
