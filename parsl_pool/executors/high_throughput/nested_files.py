"""Calls of tasks with files among their arguments: these are brought, as for calls of the program itself.

    Nested --record--> CallWithFiles, in a helper: opens function and arguments --> the executor, as any call

Other calls of tasks stay bytes here. To find the files, and put others in their places, these have to be opened; that
is user code, and so is what a provider of files does. So it is done in a thread for that; the future is there before.
"""

from __future__ import annotations

import io
import pickle
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Any

from parsl_pool.dataflow.record import Options
from parsl_pool.futures import AppFuture, Failure, frameless
from parsl_pool.interchange import calls, serialize


class CallWithFiles(AppFuture[Any]):
    """The future of such a call.

    Args:
        backend: the executor.
        needed: the futures that the tokens in its arguments stand for.
    """

    def __init__(
        self, backend: Any, record: calls.Call, needed: Sequence[Future[Any]], options: Options | None
    ) -> None:
        super().__init__()
        self._backend, self._call, self._needed, self._options = backend, record, needed, options
        self.inner: AppFuture[Any] | None = None  # that of the call that the executor has
        self._owner = _OWNER

    def begin(self) -> None:
        """Have the executor run it. In a thread where the user's code may run."""
        try:
            if not self.done():
                self._begin()
        except BaseException as error:  # the user's, or that nobody brings a file; whoever made the call gets it
            self.finish(Failure(frameless(error)))
        finally:
            self._backend.coming.discard(self)
            self._backend.wake()

    def _begin(self) -> None:
        call = self._call
        fn = serialize.load_function(memoryview(call.function)[1:])
        if self._needed:
            args, kwargs = serialize.as_call(_Unpickler(call.arguments, self._needed).load())
        else:
            args, kwargs = serialize.load_arguments(call.arguments)
        inner: AppFuture[Any] = self._backend.call(fn, args, kwargs, self._options)
        self.inner = inner
        if self.cancelled():
            inner.cancel()
        inner.add_done_callback(self._ended)

    def _ended(self, inner: Future[Any]) -> None:
        if inner.cancelled():
            self._become_cancelled()
        else:
            self.finish(inner._data)  # type: ignore[attr-defined]  # an AppFuture


class _Unpickler(pickle.Unpickler):
    def __init__(self, data: bytes, needed: Sequence[Future[Any]]) -> None:
        super().__init__(io.BytesIO(data))
        self._needed = needed

    def persistent_load(self, pid: Any) -> Future[Any]:
        future: Future[Any] = self._needed[pid[0]]
        return future


class _Owner:
    """Moves these futures as the executor's that they stand for."""

    def cancel(self, future: AppFuture[Any]) -> bool:
        """See `Owner`, as for the others."""
        inner = self._inner_of(future)
        return inner is None or inner.cancel()

    def kill(self, future: AppFuture[Any]) -> bool:
        """It is the inner one's."""
        inner = self._inner_of(future)
        return inner is not None and inner.kill()

    def is_running(self, future: AppFuture[Any]) -> bool:
        """It is the inner one's."""
        inner = self._inner_of(future)
        return inner is not None and inner.running()

    def needs_of(self, future: AppFuture[Any]) -> list[Future[Any]]:
        """The inner one, for whoever looks for circles."""
        inner = self._inner_of(future)
        return [] if inner is None else [inner]

    def failure_seen(self, future: AppFuture[Any]) -> None:
        """The inner one's failure has been seen with it."""
        inner = self._inner_of(future)
        if inner is not None and inner._owner is not None:
            inner._owner.failure_seen(inner)

    def name_of(self, future: AppFuture[Any]) -> str:
        """Its function's."""
        return future._call.name if isinstance(future, CallWithFiles) else ""

    def pump(self, future: AppFuture[Any], deadline: float | None) -> bool:
        """Others bring the result."""
        return False

    def _inner_of(self, future: AppFuture[Any]) -> AppFuture[Any] | None:
        return future.inner if isinstance(future, CallWithFiles) else None


_OWNER = _Owner()


def begun(
    backend: Any, record: calls.Call, needed: Sequence[Future[Any]], options: Options | None
) -> CallWithFiles:
    """The future of the call, which is on its way to the executor. For the I/O thread: runs no user code."""
    future = CallWithFiles(backend, record, needed, options)
    backend.coming.add(future)
    run: Callable[[Callable[[], None]], None] = backend.in_helper or backend.kernel.in_helper
    run(future.begin)
    return future
