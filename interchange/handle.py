"""A pool as it arrives in one of its tasks: calls go to the pool that the task belongs to.

    pickle.dumps(pool) -> restore(token, ...) -> in the pool's own process: the pool;  in its workers: a PoolHandle
"""

from __future__ import annotations

import io
import pickle
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, CancelledError, Executor, Future, wait
from concurrent.futures import TimeoutError as FuturesTimeoutError
from concurrent.futures._base import CANCELLED, CANCELLED_AND_NOTIFIED, FINISHED
from functools import partial
from itertools import islice
from time import monotonic
from types import BuiltinFunctionType, FunctionType
from typing import Any, TypeVar
from weakref import WeakValueDictionary

from parsl_pool.errors import DependencyError, PoolElsewhere, SerializationError, WrongType, shown
from parsl_pool.interchange import envelope, nest, serialize, wire

T = TypeVar("T")

POOLS: WeakValueDictionary[str, Any] = WeakValueDictionary()
"""Token -> pool, in the process where it was made."""

_OVER = frozenset({FINISHED, CANCELLED, CANCELLED_AND_NOTIFIED})
_FIXED_KINDS = (FunctionType, BuiltinFunctionType, type)
_OPTIONS = frozenset({"retries", "lost_retries", "priority", "label", "walltime", "resources"})


def restore(token: str, label: str, size: int, options: dict[str, Any] | None = None) -> Any:
    """What a pool unpickles to, or a view of one with options."""
    pool = POOLS.get(token)
    if pool is None:
        return PoolHandle(token, label, size, options)
    return pool.options(**options) if options else pool


class NestedFuture(Future[T]):
    """The result to come of a call that a task has made."""

    def __init__(self, home: nest.Nest) -> None:
        super().__init__()
        self._home = home
        self._number = 0
        self._waiters: list[Any] = _Waiters(self)

    def result(self, timeout: float | None = None) -> T:
        """As of any future. Without a timeout, calls that have not begun may be run meanwhile, in this thread."""
        self._bring(timeout)
        return super().result(0)

    def exception(self, timeout: float | None = None) -> BaseException | None:
        """As `result`."""
        self._bring(timeout)
        return super().exception(0)

    def _bring(self, timeout: float | None) -> None:
        if self._state not in _OVER:
            self._home.wait(lambda: self._state in _OVER, timeout, [self._number])

    def cancel(self) -> bool:
        """Keep the call from starting, wherever it waits."""
        if self._state not in _OVER:
            self._home.cancel(self._number)
        return self.cancelled()

    def add_done_callback(self, fn: Callable[[Future[T]], object]) -> None:
        """As of any future. The callback runs in a thread of this task's that waits for something."""
        super().add_done_callback(fn)
        if self._state not in _OVER:
            bring = partial(_bring_quietly, self)
            threading.Thread(target=bring, name=f"parsl-pool-call-{self._number}", daemon=True).start()

    def end(self, status: int, data: Any) -> None:
        """For the nest: it is over, and this has come."""
        if status == wire.CANCELLED:
            super().cancel()
            self.set_running_or_notify_cancel()
            return
        try:
            if status == wire.OK:
                self.set_result(serialize.load_value(data))
                return
            error = _error(status, data)
        except BaseException as problem:  # of user code that unpickles; whoever asks for the result gets it
            error = problem
        self.set_exception(error)

    def __reduce_ex__(self, protocol: Any) -> Any:
        if self._state == FINISHED and self._exception is None:
            return _same, (self._result,)
        raise _HasFuture(self)


def _bring_quietly(future: NestedFuture[Any]) -> None:
    try:
        future._bring(None)
    except PoolElsewhere:
        pass  # the task is over: nobody wants to be called back


def _same(value: T) -> T:
    return value


class _HasFuture(Exception):
    """There is a future in what was to be pickled, and it has no value, or none yet."""

    def __init__(self, future: NestedFuture[Any]) -> None:
        super().__init__("a future can't be pickled; as an argument of submit() or map() it is awaited")
        self.future = future


class _Waiters(list[Any]):
    """Those who wait for a future by the standard library's `wait` or `as_completed`: their waiting brings results."""

    def __init__(self, future: NestedFuture[Any]) -> None:
        super().__init__()
        self._future = future

    def append(self, waiter: Any) -> None:
        if not isinstance(waiter.event, _Event):
            waiter.event = _Event(self._future._home)
        waiter.event.numbers.append(self._future._number)
        super().append(waiter)


class _Event(threading.Event):
    """An event, and whoever waits for it reads what the client sends."""

    def __init__(self, home: nest.Nest) -> None:
        super().__init__()
        self.numbers: list[int] = []
        self._home = home

    def set(self) -> None:
        super().set()
        self._home.rouse()

    def wait(self, timeout: float | None = None) -> bool:
        return self._home.wait(self.is_set, timeout, self.numbers)


def _error(status: int, data: bytes) -> BaseException:
    from concurrent.futures.process import _RemoteTraceback  # with multiprocessing, which only errors need

    error = envelope.load_exception(data, lambda text: _RemoteTraceback(f'\n"""\n{text}"""'))  # type: ignore[arg-type]  # typeshed is wrong: it is a text
    if status != wire.UNREADABLE:
        return error
    from parsl_pool.errors import DeserializationError  # as above

    told = DeserializationError(f"the task could not be rebuilt in the worker: {type(error).__name__}: {error}")
    told.__cause__ = error
    return told


class PoolHandle(Executor):
    """A pool, seen from one of its tasks."""

    def __init__(self, token: str, label: str, size: int, options: dict[str, Any] | None = None) -> None:
        self._token, self._label = token, label
        self._options = options or {}
        self.size = size
        """Number of workers."""

    @property
    def _max_workers(self) -> int:
        return self.size

    def submit(self, fn: Callable[..., T], /, *args: Any, **kwargs: Any) -> NestedFuture[T]:
        """Run `fn(*args, **kwargs)` in a worker of the pool; futures of this task's among the arguments are awaited.

        Returns:
            A future. If something can't be pickled it has failed already, with `SerializationError`.

        Raises:
            PoolElsewhere: this process is none of the pool's, or runs no task.
            TypeError: fn is not callable.
        """
        if not callable(fn):
            raise WrongType(f"fn must be a callable, got {shown(fn)}")
        try:
            home = nest.current()
        except PoolElsewhere as problem:
            raise PoolElsewhere(problem.reason, self._label) from None
        future: NestedFuture[T] = NestedFuture(home)
        name = str(getattr(fn, "__qualname__", None) or type(fn).__name__)
        try:
            function = _dump_function(fn, name)
            arguments, needed = _dump_arguments([args, kwargs] if kwargs else args, name)
        except (SerializationError, DependencyError) as error:
            future.set_exception(error)
            return future
        numbers = [other._number for other in needed]
        is_free = not (needed or "walltime" in self._options or "resources" in self._options)
        call = (self._token, name, function, arguments, numbers, repr(self._options) if self._options else "")
        future._number = home.submit(call, future.end, is_free)
        return future

    def options(self, **changes: Any) -> PoolHandle:
        """The same, and its calls have these options: retries, lost_retries, priority, label, walltime,
        resources."""
        for name in changes:
            if name not in _OPTIONS:
                known = ", ".join(sorted(_OPTIONS))
                raise WrongType(f"inside of a task calls have the options {known}, not {name!r}")
        return PoolHandle(self._token, self._label, self.size, {**self._options, **changes})

    def map(
        self,
        fn: Callable[..., T],
        *iterables: Iterable[Any],
        timeout: float | None = None,
        chunksize: int = 1,
        buffersize: int | None = None,
        unordered: bool = False,
    ) -> Iterator[T]:
        """As the pool's own."""
        return self._map(fn, zip(*iterables), timeout, chunksize, buffersize, unordered)

    def starmap(
        self, fn: Callable[..., T], iterable: Iterable[Iterable[Any]], chunksize: int = 1, timeout: float | None = None
    ) -> Iterator[T]:
        """As the pool's own."""
        return self._map(fn, map(tuple, iterable), timeout, chunksize, None, False)

    def _map(
        self,
        fn: Callable[..., T],
        items: Iterator[tuple[Any, ...]],
        timeout: float | None,
        chunksize: int,
        buffersize: int | None,
        unordered: bool,
    ) -> Iterator[T]:
        for name, value in (("chunksize", chunksize), ("buffersize", buffersize or 1)):
            if value < 1:
                raise ValueError(f"{name} must be at least 1, got {value}")
        deadline = None if timeout is None else timeout + monotonic()
        chunks = iter(lambda: list(islice(items, chunksize)), [])
        futures = (
            self.submit(_call_each, fn, chunk) if chunksize > 1 else self.submit(_call_one, fn, chunk[0])
            for chunk in chunks
        )
        started = deque(islice(futures, buffersize))
        return (_unordered if unordered else _ordered)(started, futures, deadline)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Nothing: the pool is ended by the program that made it."""

    def __reduce__(self) -> Any:
        return restore, (self._token, self._label, self.size, self._options)

    def __repr__(self) -> str:
        return f"<PoolHandle of {self._label}, {self.size} workers>"


def _ordered(started: deque[Any], more: Iterator[Any], deadline: float | None) -> Iterator[Any]:
    try:
        while started:
            values = started.popleft().result(None if deadline is None else deadline - monotonic())
            started.extend(islice(more, 1))
            yield from values
    finally:
        _cancel(started)


def _unordered(started: deque[Any], more: Iterator[Any], deadline: float | None) -> Iterator[Any]:
    pending = set(started)
    try:
        while pending:
            done, pending = wait(pending, None if deadline is None else deadline - monotonic(), FIRST_COMPLETED)
            if not done:
                raise FuturesTimeoutError
            pending.update(islice(more, len(done)))
            for future in done:
                yield from future.result()
    finally:
        _cancel(pending)


def _cancel(futures: Iterable[Any]) -> None:
    for future in futures:
        future.cancel()


def _call_one(fn: Callable[..., T], args: tuple[Any, ...]) -> list[T]:
    return [fn(*args)]


def _call_each(fn: Callable[..., T], items: list[tuple[Any, ...]]) -> list[T]:
    return [fn(*args) for args in items]


def _dump_function(fn: Any, name: str) -> bytes:
    try:
        data = pickle.dumps(fn, 5)
        if b"__main__" not in data:
            return (serialize.REUSE if type(fn) in _FIXED_KINDS else serialize.ANEW) + data
    except Exception:  # not importable by its name, perhaps: by value then, or the error of that
        pass
    return serialize.ANEW + serialize.dump_by_value(fn, name)


def _failed(future: NestedFuture[Any], name: str) -> DependencyError:
    error: BaseException = CancelledError() if future.cancelled() else future.exception() or CancelledError()
    return DependencyError([(error, f"call {future._number}")], name)


def _dump_arguments(packed: Any, name: str) -> tuple[bytes, list[NestedFuture[Any]]]:
    """A payload; or a pickle with tokens, and the futures that they stand for."""
    try:
        data, buffers = serialize.dump_parts(packed)
        if not serialize.names_main(data):
            return serialize.join(serialize.with_buffers(data, buffers) if buffers else data), []
        return serialize.dump_by_value(packed, f"arguments of {name}"), []
    except BaseException as problem:  # by value may do; if not, the error of that says what is wrong
        serialize.pass_on(problem, lambda: pickle.dumps(packed, 5))
    found: list[NestedFuture[Any]] = []
    failed: list[NestedFuture[Any]] = []
    from parsl_pool.interchange import by_value  # on first need: 20 ms

    class ByValue(by_value.Pickler):
        def persistent_id(self, obj: object) -> Any:
            if not isinstance(obj, NestedFuture):
                return None
            if obj._state in _OVER and (obj.cancelled() or obj.exception()):
                failed.append(obj)
            if obj._state in _OVER:
                return None
            if obj not in found:
                found.append(obj)
            return found.index(obj), ()

    file = io.BytesIO()
    try:
        ByValue(file, 5).dump(packed)
    except BaseException:  # whatever user code raises while it is pickled
        if failed:
            raise _failed(failed[0], name) from None
        return serialize.dump_by_value(packed, f"arguments of {name}"), []
    return file.getvalue(), found


