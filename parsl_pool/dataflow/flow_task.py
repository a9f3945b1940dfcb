"""A task that takes more than one step, and where it is."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from itertools import count
from typing import Any, Protocol

from parsl_pool.dataflow.record import FlowRecord, Options
from parsl_pool.futures import AppFuture


class Backend(Protocol):
    """What a flow asks of an executor. See `ParslExecutor`."""

    label: str
    wants_payloads: bool

    @property
    def broken(self) -> BaseException | None: ...

    @property
    def is_new(self) -> bool: ...

    @property
    def objects(self) -> Any: ...

    def new_id(self) -> int: ...

    def prepare(self, fn: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any], /) -> Any: ...

    def prepare_staged(
        self, fn: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any], instead: Any = None, /
    ) -> Any: ...

    def launch_try(
        self, call: Any, results: list[Future[Any]], options: Options, of: FlowRecord, /
    ) -> AppFuture[Any]: ...

    def hold(self, is_busy: Callable[[], bool], /) -> None: ...

    def wake(self) -> None: ...


_NONE: dict[int, Any] = {}  # never changed
_orders = count()


class FlowTask:
    """One task of a `Flow`.

    Belongs to whoever moves it, one thread at a time: who submits, who brings a result, a helper. But `inner` and
    `is_over`, by which the user's cancel() meets them, are changed under the flow's lock.

    Attributes:
        future: the user's.
        inner: the future of the try that is under way.
        is_over: no further try may begin.
        runs_as: (fn, args, kwargs) of what is launched instead of the call itself, or None.
        call: what the executor has prepared; None before.
        key: under which its result is kept, once known.
        is_first: of all calls with that key: the others wait for it.
        follows: the future of that first one, for one of the others.
        written: among the arguments, by id: files that the task writes, not reads.
        order: greater than that of the tasks for which it waits.
    """

    __slots__ = ("__weakref__", "backend", "call", "follows", "future", "inner", "is_first", "is_over", "key", "order",
                 "record", "runs_as", "written")  # fmt: skip

    def __init__(self, future: AppFuture[Any], record: FlowRecord, backend: Backend, runs_as: Any = None) -> None:
        self.future, self.record, self.backend, self.runs_as = future, record, backend, runs_as
        self.call: Any = None
        self.written: dict[int, Any] = _NONE
        self.key: Any = None
        self.follows: AppFuture[Any] | None = None
        self.inner: AppFuture[Any] | None = None
        self.is_over = self.is_first = False
        self.order = next(_orders)

    def follows_new_ones(self) -> None:
        """Tasks that bring its files have been submitted since."""
        self.order = next(_orders)
