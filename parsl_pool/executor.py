"""`ParslPoolExecutor`: the interface of `concurrent.futures`, and nothing else.

It is a `ProcessPoolExecutor` by name, because frameworks ask `isinstance`; it uses nothing of that class.
"""

from __future__ import annotations

import itertools
import logging
import multiprocessing
import sys
import threading
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future
from concurrent.futures import process as _stdlib
from time import monotonic, sleep
from types import TracebackType
from typing import Any, TypeVar

from parsl_pool import mapping
from parsl_pool.errors import PoolBroken
from parsl_pool.executors.high_throughput.executor import HighThroughputExecutor, available_cores
from parsl_pool.executors.high_throughput.link import Stage
from parsl_pool.futures import AppFuture, FutureInArguments

T = TypeVar("T")

if sys.platform == "win32":
    raise ImportError("parsl_pool does not run on Windows; use it in WSL, or on Linux or macOS")

logging.getLogger("parsl_pool").addHandler(logging.NullHandler())  # silent unless the program wants to hear

_GRACE_S = 3.0
_FIRST_WORKER_S = 10.0
_FIRST_TASK_S = 2.0
_numbers = itertools.count(1)
_interpreter_exits = False


class ParslPoolExecutor(_stdlib.ProcessPoolExecutor):
    """Runs calls in worker processes, on this machine or on many.

    Args:
        max_workers: number of workers; None: one for each processor this process may use.
        mp_context: a `multiprocessing` context: its start method is that of the workers.
        initializer: called in each worker before its first task, with `initargs`.
        max_tasks_per_child: a worker is replaced after so many tasks.
        retries: how often a task that fails is tried again.
        lost_retries: how often a task is tried again whose place (manager, node, interchange) was lost.
        preload: modules that are imported once for all workers.
        run_dir: where the run's files go; None: a private temporary directory, if one is needed at all.
        manager_inside: whether the manager of the workers shares the interchange's process; None: if it can.

    Raises:
        ValueError, TypeError, ConfigurationError: a bad argument, at once.
    """

    def __init__(
        self,
        max_workers: int | None = None,
        mp_context: Any = None,
        initializer: Callable[..., object] | None = None,
        initargs: tuple[Any, ...] = (),
        *,
        max_tasks_per_child: int | None = None,
        retries: int = 0,
        lost_retries: int = 3,
        preload: Iterable[str] = (),
        run_dir: str | None = None,
        manager_inside: bool | None = None,
    ) -> None:
        if max_workers is None:
            max_workers = available_cores()
        elif type(max_workers) is bool or not isinstance(max_workers, int):
            raise TypeError(f"max_workers must be a whole number or a Config, got {max_workers!r}")
        elif max_workers <= 0:
            raise ValueError("max_workers must be greater than 0")
        if initializer is not None and not callable(initializer):
            raise TypeError("initializer must be a callable")
        method = _start_method(mp_context, max_tasks_per_child)
        self._max_workers = max_workers
        self._mp_context = mp_context or multiprocessing.get_context("spawn" if max_tasks_per_child else None)
        self._initializer, self._initargs = initializer, initargs
        self._max_tasks_per_child = max_tasks_per_child
        self._backend = HighThroughputExecutor(
            label=f"pool-{next(_numbers)}",
            max_workers_per_node=max_workers,
            start_method=method,
            initializer=initializer,
            initargs=initargs,
            max_tasks_per_child=max_tasks_per_child,
            preload=preload,
            run_dir=run_dir,
            manager_inside=manager_inside,
            retries=retries,
            lost_retries=lost_retries,
        )
        self._shutdown_thread = False
        self._call = self._backend.call
        # When the pool is dropped without shutdown, its tasks still finish, and then everything ends.
        self._finalizer = weakref.finalize(self, self._backend.begin_shutdown)
        self._finalizer.atexit = False  # the exit hook below does that, in time to wait for it
        _live.add(self._backend)

    # -- what the world reads

    @property
    def size(self) -> int:
        """Number of workers."""
        return self._max_workers

    @property
    def _processes(self) -> Mapping[int, Any]:  # type: ignore[override]  # an attribute there
        if self._backend.link.stage is Stage.OPEN:
            self._backend.workers.first.wait(_FIRST_WORKER_S)  # programs look right after their first submit
        return self._backend.workers.processes

    @property
    def _broken(self) -> Any:  # type: ignore[override]  # an attribute there
        return self._backend.link.broken or False

    @property
    def _shutdown(self) -> bool:
        return self._shutdown_thread

    # -- calls

    def submit(self, fn: Callable[..., T], /, *args: Any, **kwargs: Any) -> AppFuture[T]:  # type: ignore[override]
        """Run `fn(*args, **kwargs)` in a worker. Futures among the arguments, at any depth, are awaited.

        Returns:
            A future. If something can't be pickled it has failed already, with `SerializationError`.

        Raises:
            RuntimeError: after shutdown.
            BrokenProcessPool: no worker can work; the text says why.
            TypeError: fn is not callable.
        """
        self._check_open()
        if not callable(fn):
            raise TypeError(f"submit() needs a callable, got {fn!r}")
        return self._call(fn, args, kwargs)

    def _check_open(self) -> None:
        link = self._backend.link
        if link.stage is Stage.OPEN and not self._shutdown_thread and link.broken is None:
            return
        if self._backend.link.broken is not None:
            raise _fresh(self._backend.link.broken)
        if self._shutdown_thread:
            raise RuntimeError("cannot schedule new futures after shutdown")
        if _interpreter_exits:
            raise RuntimeError("cannot schedule new futures after interpreter shutdown")
        self._backend.start()

    def map(
        self,
        fn: Callable[..., T],
        *iterables: Iterable[Any],
        timeout: float | None = None,
        chunksize: int = 1,
        buffersize: int | None = None,
        unordered: bool = False,
    ) -> Iterator[T]:
        """The results of `fn` over the iterables' items, as `map()` would give them.

        Args:
            timeout: seconds from this call until which each result must be there.
            chunksize: so many calls make one task.
            buffersize: at most so many results are outstanding; None: all calls are submitted at once.
            unordered: results come as they are finished.
        """
        return mapping.map_over(
            self, fn, iterables, timeout=timeout, chunksize=chunksize, buffersize=buffersize, unordered=unordered
        )

    def starmap(
        self, fn: Callable[..., T], iterable: Iterable[Iterable[Any]], chunksize: int = 1, timeout: float | None = None
    ) -> Iterator[T]:
        """The results of `fn(*item)` for the items of the iterable."""
        return mapping.map_over(
            self, fn, (iterable,), timeout=timeout, chunksize=chunksize, buffersize=None, unordered=False, star=True
        )

    def _submit_chunk(self, fn: Callable[..., Any], calls: list[tuple[Any, ...]]) -> Future[Any]:
        """Several calls as one task, whose result is a list, or a PartialChunk."""
        self._check_open()
        try:
            return self._backend.call_chunk(fn, calls)
        except FutureInArguments:
            return mapping.gather([self.submit(fn, *args) for args in calls])

    # -- the end

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Take no more calls, and end when those that were taken are done.

        Args:
            wait: return only when everything has ended; else at once, and it ends in the background.
            cancel_futures: cancel all that has not begun.
        """
        self._shutdown_thread = True
        self._finalizer.detach()
        if cancel_futures:
            self._await_first_task()
            for future in list(self._backend.link.tries.table.values()):
                future.cancel()
        self._backend.begin_shutdown()
        if wait:
            self._backend.join()

    def _await_first_task(self) -> None:
        """The standard library's pools guarantee that the first calls run; so a pool that starts gets a moment."""
        link = self._backend.link
        end = monotonic() + _FIRST_TASK_S
        while link.stage is Stage.OPEN and not link.has_begun() and monotonic() < end:
            sleep(0.001)

    def terminate_workers(self) -> None:
        """End the workers by SIGTERM, and the pool with them. Tasks that run, or wait, fail."""
        self._end_now()

    def kill_workers(self) -> None:
        """End the workers by SIGKILL, and the pool with them. Tasks that run, or wait, fail."""
        self._end_now()

    def _end_now(self) -> None:
        self._shutdown_thread = True
        self._finalizer.detach()
        self._backend.begin_shutdown(kill=True)
        self._backend.join()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None and issubclass(kind, KeyboardInterrupt):
            # Ctrl-C means stop: what has not begun is dropped, what runs gets a moment.
            self.shutdown(wait=False, cancel_futures=True)
            if not self._backend.join(_GRACE_S):
                self._end_now()
            return
        self.shutdown()

    def __repr__(self) -> str:
        link = self._backend.link
        tries = link.tries
        state = "broken" if link.broken else link.stage.name.lower()
        return (
            f"<ParslPoolExecutor {link.label}: {self._max_workers} workers, {state}, "
            f"{len(tries.table)} tasks under way, {tries.finished} done, {tries.failed} failed>"
        )


def _start_method(context: Any, max_tasks_per_child: int | None) -> str:
    method = "forkserver"
    if context is not None:
        if not hasattr(context, "get_start_method"):
            raise TypeError(f"mp_context must be a multiprocessing context, got {context!r}")
        method = context.get_start_method(allow_none=True) or "forkserver"
    if max_tasks_per_child is not None:
        if not isinstance(max_tasks_per_child, int):
            raise TypeError("max_tasks_per_child must be an integer")
        if max_tasks_per_child <= 0:
            raise ValueError("max_tasks_per_child must be >= 1")
        if method == "fork":
            raise ValueError(
                "max_tasks_per_child is incompatible with the 'fork' multiprocessing start method; "
                "supply a different mp_context."
            )
    return method


def _fresh(error: BaseException) -> BaseException:
    """A copy: a shared exception object would collect everybody's traceback."""
    return type(error)(*error.args) if isinstance(error, PoolBroken) else error


# ---- the interpreter's end

_live: weakref.WeakSet[HighThroughputExecutor] = weakref.WeakSet()


def _at_exit() -> None:
    """Finish what was submitted, as the standard library's executors do; after Ctrl-C, only end it."""
    global _interpreter_exits
    _interpreter_exits = True
    interrupted = getattr(sys, "last_type", None) is KeyboardInterrupt
    backends = list(_live)
    for backend in backends:
        backend.link.may_restart = False
        backend.begin_shutdown(kill=interrupted)
    for backend in backends:
        try:
            backend.join()
        except KeyboardInterrupt:  # a second Ctrl-C
            backend.begin_shutdown(kill=True)
            backend.join()


# As concurrent.futures.thread does: it runs before threads are joined, while threads still can run.
threading._register_atexit(_at_exit)  # type: ignore[attr-defined]  # private, but the only hook at that moment

