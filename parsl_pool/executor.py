"""`ParslPoolExecutor`: the interface of `concurrent.futures`, and nothing else.

It is a `ProcessPoolExecutor` by name, because frameworks ask `isinstance`; it uses nothing of that class.

Importing this module costs what its base class costs. The rest of the project is loaded when a pool is made: by
`ParslPoolExecutor.__init__`, so that imports in the methods below find it there.
"""

from __future__ import annotations

import logging
import multiprocessing
import os
import threading
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future
from concurrent.futures import process as _stdlib
from time import monotonic
from types import TracebackType

from parsl_pool import exit_hook
from parsl_pool.errors import ConfigurationError, PoolBroken, WrongType, shown
from parsl_pool.kernel_face import KernelFace

TYPE_CHECKING = False  # checkers know the name; taking it from `typing` would load that
if TYPE_CHECKING:
    from typing import Any, TypeVar

    from parsl_pool.config import Config
    from parsl_pool.dataflow.call import Call
    from parsl_pool.dataflow.flow import Flow
    from parsl_pool.dataflow.record import Options
    from parsl_pool.executors.base import ParslExecutor
    from parsl_pool.futures import AppFuture
    from parsl_pool.options import PoolView
    from parsl_pool.status import PoolStatus
    from parsl_pool.usage.tracking import Tracking

    T = TypeVar("T")

logging.getLogger("parsl_pool").addHandler(logging.NullHandler())  # silent unless the program wants to hear

_GRACE_S = 3.0
_making = threading.Lock()  # guards the making of a pool's Flow
os.register_at_fork(after_in_child=_making._at_fork_reinit)  # type: ignore[attr-defined]  # private, made for that


class ParslPoolExecutor(KernelFace, _stdlib.ProcessPoolExecutor):
    """Runs calls in worker processes, on this machine or on many.

    Args:
        max_workers: number of workers, or a Config; None: one for each processor this process may use.
        mp_context: a `multiprocessing` context: its start method is that of the workers.
        initializer: called in each worker before its first task, with `initargs`.
        max_tasks_per_child: a worker is replaced after so many tasks.
        config: a Config, as well as first argument.
        retries: how often a task that fails is tried again.
        lost_retries: how often a task is tried again whose place (manager, node, interchange) was lost.
        preload: modules that are imported once for all workers.
        run_dir: where the run's files go; None: a private temporary directory, if one is needed at all.
        manager_inside: whether the manager of the workers shares the interchange's process; None: if it can.
        progress: show a progress bar (needs tqdm).

    Raises:
        ValueError, TypeError, ConfigurationError: a bad argument, at once.
    """

    def __init__(
        self,
        max_workers: int | Config | None = None,
        mp_context: Any = None,
        initializer: Callable[..., object] | None = None,
        initargs: tuple[Any, ...] = (),
        *,
        max_tasks_per_child: int | None = None,
        config: Config | None = None,
        retries: int = 0,
        lost_retries: int = 3,
        preload: Iterable[str] = (),
        run_dir: str | os.PathLike[str] | None = None,
        manager_inside: bool | None = None,
        progress: bool = False,
    ) -> None:
        from parsl_pool import backends as made  # see the top, as for the next
        from parsl_pool import checks
        from parsl_pool.config import Config, checked, usage_level

        if isinstance(max_workers, (Config, dict)):
            if config is not None:
                raise ConfigurationError(f"max_workers is a Config, so config must be None, got {shown(config)}")
            max_workers, config = None, checked(max_workers, "max_workers")
        config = None if config is None else checked(config)
        progress = checks.flag("progress", progress)
        method = made.start_method(mp_context, max_tasks_per_child)
        place = made.place_of(run_dir, config)
        if config is None:
            backends = made.this_machine(
                max_workers,
                place,
                start_method=method,
                initializer=initializer,
                initargs=initargs,
                max_tasks_per_child=max_tasks_per_child,
                preload=preload,
                manager_inside=manager_inside,
                retries=checks.budget("retries", retries),
                lost_retries=checks.budget("lost_retries", lost_retries),
            )
        else:
            given = (max_workers, mp_context, initializer, max_tasks_per_child, run_dir, manager_inside)
            is_default = (retries, lost_retries) == (0, 3) and made.is_empty(initargs) and made.is_empty(preload)
            if not is_default or any(value is not None for value in given):
                raise ConfigurationError(
                    "with a Config, say everything about workers and tries there: "
                    "HighThroughputExecutor(max_workers_per_node=, start_method=, initializer=, initargs=, "
                    "max_tasks_per_child=, preload=, manager_inside=) and Config(run_dir=, retries=, lost_retries=)"
                )
            backends = made.from_config(config, place)
        self._config = config
        self._backends = {backend.label: backend for backend in backends}
        self._all_backends = backends
        self._backend: Any = backends[0]
        self._max_workers = sum(getattr(b, "max_workers_per_node", getattr(b, "max_threads", 0)) for b in backends)
        self._mp_context = mp_context or multiprocessing.get_context("spawn" if max_tasks_per_child else None)
        self._initializer: Any = initializer
        self._initargs = initargs
        self._max_tasks_per_child = max_tasks_per_child
        self._shutdown_thread = False
        self._are_many = len(backends) > 1
        is_simple = not self._are_many and self.default_options.is_plain
        self._call: Callable[..., AppFuture[Any]] = self._backend.call if is_simple else self._call_somewhere
        self._flow_box: list[Flow] = []  # made for the first call that needs it
        self._place = place
        self._bring_files_of(backends)
        if config is not None and (config.checkpoint_files or config.checkpoint_mode):
            self._remember_or_end()
        self._bar = _progress_bar(backends, self._backend.label) if progress else None
        # When the pool is dropped without shutdown, its tasks still finish, and then everything ends.
        self._finalizer = weakref.finalize(self, _end_all, backends, self._flow_box)
        self._finalizer.atexit = False  # the exit hook does that, in time to wait for it
        level = usage_level(config)
        self._usage = _tracked(level, config, backends) if level else None

    def _remember_or_end(self) -> None:
        """What is wrong with the checkpoints shows here, and leaves nothing behind."""
        try:
            self._memory()
        except BaseException:  # passed on; nobody will have this pool, to end it
            for backend in self._backends.values():
                backend.begin_shutdown(kill=True)
            for flow in self._flow_box:
                flow.let_go()
            raise

    # -- what the world reads

    @property
    def size(self) -> int:
        """Number of workers."""
        return self._max_workers

    @property
    def _processes(self) -> Mapping[int, Any]:  # type: ignore[override]  # an attribute there
        processes: dict[int, Any] = {}
        for backend in self._backends.values():
            processes.update(backend.processes())
        return processes

    @property
    def _broken(self) -> Any:  # type: ignore[override]  # an attribute there
        return self._backend.broken or False

    @property
    def _shutdown(self) -> bool:
        return self._shutdown_thread

    # -- calls

    def submit(self, fn: Callable[..., T], /, *args: Any, **kwargs: Any) -> AppFuture[T]:
        """Run `fn(*args, **kwargs)` in a worker. Futures among the arguments, at any depth, are awaited.

        Returns:
            A future. If something can't be pickled it has failed already, with `SerializationError`.

        Raises:
            RuntimeError: after shutdown.
            BrokenProcessPool: no worker can work; the text says why.
            TypeError: fn is not callable.
        """
        if not callable(fn):
            raise WrongType(f"fn must be a callable, got {shown(fn)}")
        if not self._backend.is_open or self._shutdown_thread:
            self._open()
        return self._call(fn, args, kwargs)  # a bound method, kept so that submit is short

    def _open(self) -> None:
        if self._backend.broken is not None:
            raise _fresh(self._backend.broken)
        if self._flow_box and self._flow_box[0].helpers.is_one():
            return  # a join app: it may submit while the pool waits for it, to the end
        if self._shutdown_thread:
            raise RuntimeError("cannot schedule new futures after shutdown")
        if exit_hook.is_exiting():
            raise RuntimeError("cannot schedule new futures after interpreter shutdown")
        for backend in self._backends.values():
            exit_hook.register(backend)  # here, and not at birth: a forked child may be who starts it
            backend.start()

    def submit_with(
        self, options: Options, fn: Callable[..., T], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> AppFuture[T]:
        """What `options(...).submit` does."""
        if not callable(fn):
            raise WrongType(f"fn must be a callable, got {shown(fn)}")
        if not self._backend.is_open or self._shutdown_thread:
            self._open()
        if not options.is_plain:
            from parsl_pool.dataflow.call import Call  # as in _flow()

            return self.submit_call(Call(fn, args, kwargs), options)
        backend, options = self._placed(options)
        # None: as the executor does it anyway, which is the shortest way.
        future: AppFuture[T] = backend.call(fn, args, kwargs, None if options is backend.options else options)
        return future

    def submit_call(self, call: Call, options: Options) -> AppFuture[Any]:
        """A call that takes more than one step; or more is known about it, as about those of apps."""
        if not self._backend.is_open or self._shutdown_thread:
            self._open()
        backend, options = self._placed(options)
        if options.sandbox and not options.join:
            from parsl_pool import sandboxing  # rarely needed

            call = sandboxing.in_own_directory(self, call, options, backend)
        return self._flow().submit(call, options, backend)

    def _flow(self) -> Flow:
        if not self._flow_box:
            flow = self._make_flow()
            with _making:
                if not self._flow_box:
                    for backend in self._backends.values():
                        flow.hold(backend)
                    exit_hook.register(flow)
                    self._flow_box.append(flow)
        return self._flow_box[0]

    def submit_chunk(
        self, fn: Callable[..., Any], calls: list[tuple[Any, ...]], options: Options | None = None
    ) -> Future[Any]:
        """Several calls as one task, whose result is a list, or a PartialChunk. For `map`."""
        from parsl_pool import mapping  # see the top
        from parsl_pool.futures import FutureInArguments

        self._open()
        chunk = getattr(self._backend, "call_chunk", None)
        said = self.default_options if options is None else options
        if chunk is not None and len(self._backends) == 1 and said.is_plain:  # else each call is a task
            try:
                future: Future[Any] = chunk(fn, calls, options)
                return future
            except FutureInArguments:
                pass  # each call waits for its own futures then
        if options is None:
            return mapping.gather([self.submit(fn, *args) for args in calls])
        return mapping.gather([self.submit_with(options, fn, args, {}) for args in calls])

    def options(self, **changes: Any) -> PoolView:
        """A view of this pool whose calls have other options. It is an Executor, too.

        Args:
            changes: retries, lost_retries, priority, label, walltime, executors, cache, ignore_for_cache,
                retry_handler, retry_delay, join, dependency_resolver, resources, result, sandbox, as the guide has
                it ("Submitting").

        Raises:
            ConfigurationError: an option that doesn't exist, or a value that can't be.
        """
        from parsl_pool.options import PoolView, changed  # rarely needed

        return PoolView(self, self.check_options(changed(self.default_options, changes)))

    def check_options(self, options: Options) -> Options:
        """The same options, if this pool has the executors that they name. Raises ConfigurationError."""
        if options.join and options.walltime is not None:
            raise ConfigurationError(
                f"walltime must be None for a join, which runs in this process and can't be stopped, got "
                f"{options.walltime:g}: give it to the calls that the join makes"
            )
        if options.result == "ref":
            if options.join or options.cache:
                raise ConfigurationError('result must be "value" where join or cache is true, got "ref"')
            self._objects_here()
        for label in options.executors:
            if label not in self._backends and not self._add_internal(label):
                known = ", ".join(repr(other) for other in self._backends)
                raise ConfigurationError(
                    f"executors must be labels of this pool's, got {shown(label)}; there are: {known}"
                )
        if options.resources is not None:
            from parsl_pool.options import check_resources  # as in options()

            check_resources(options, self._backends)
        return options

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
        from parsl_pool import mapping  # see the top

        return mapping.map_over(
            self, fn, iterables, timeout=timeout, chunksize=chunksize, buffersize=buffersize, unordered=unordered
        )

    def starmap(
        self, fn: Callable[..., T], iterable: Iterable[Iterable[Any]], chunksize: int = 1, timeout: float | None = None
    ) -> Iterator[T]:
        """The results of `fn(*item)` for the items of the iterable."""
        from parsl_pool import mapping  # see the top

        return mapping.map_over(
            self, fn, (iterable,), timeout=timeout, chunksize=chunksize, buffersize=None, unordered=False, star=True
        )

    # -- questions

    def status(self) -> PoolStatus:
        """A snapshot: tasks by state, workers, managers, tasks per second."""
        from parsl_pool.status import snapshot  # rarely needed, and it loads dataclasses

        return snapshot(self._backends.values())

    def explain(self) -> str:
        """What waits, for what, since when: a paragraph for people."""
        lines = [backend.explain() for backend in self._backends.values()]
        for flow in self._flow_box:
            lines += flow.explain()
        return "\n".join(lines)

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
            for flow in self._flow_box:
                flow.cancel_all()
        for backend in self._backends.values():
            if cancel_futures:
                backend.cancel_all()
            backend.begin_shutdown(kill=False)
        for flow in self._flow_box:
            flow.begin_shutdown()
        if wait:
            self._join(None)

    def _join(self, timeout: float | None) -> bool:
        end = None if timeout is None else monotonic() + timeout
        for backend in self._backends.values():
            if not backend.join(None if end is None else max(0.0, end - monotonic())):
                return False
        if self._bar is not None:
            self._bar.close()
        for flow in self._flow_box:
            flow.let_go()
            flow.failures.report()
        if self._objects is not None:
            self._objects.end()
        if self._usage is not None:
            self._usage.ended()
        return True

    def terminate_workers(self) -> None:
        """End the workers by SIGTERM, and the pool with them. Tasks that run, or wait, fail."""
        self._end_now()

    def kill_workers(self) -> None:
        """End the workers by SIGKILL, and the pool with them. Tasks that run, or wait, fail."""
        self._end_now()

    def _end_now(self) -> None:
        self._shutdown_thread = True
        self._finalizer.detach()
        for flow in self._flow_box:
            flow.begin_shutdown(kill=True)
        for backend in self._backends.values():
            backend.begin_shutdown(kill=True)
        for flow in self._flow_box:
            flow.cancel_all()
        self._join(None)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None and issubclass(kind, KeyboardInterrupt):
            # Ctrl-C means stop: what has not begun is dropped, what runs gets a moment.
            self.shutdown(wait=False, cancel_futures=True)
            if not self._join(_GRACE_S):
                self._end_now()
            return
        mode = "cleanup" if self._config is None else self._config.exit_mode
        if mode != "skip":
            self.shutdown(cancel_futures=mode == "wait" and kind is not None)

    def __repr__(self) -> str:
        backends = ", ".join(backend.describe() for backend in self._backends.values())
        return f"<ParslPoolExecutor {backends}>"


def _end_all(backends: list[ParslExecutor], flows: list[Flow]) -> None:
    for backend in backends:
        backend.begin_shutdown(kill=False)
    for flow in flows:
        flow.begin_shutdown(abandoned=True)


def _tracked(level: int, config: Config | None, backends: list[ParslExecutor]) -> Tracking | None:
    from parsl_pool.config import usage_address  # loaded by ParslPoolExecutor.__init__
    from parsl_pool.usage.tracking import begin  # only for those who want that

    def counts() -> tuple[int, int]:
        numbers = [backend.counts() for backend in backends]
        return int(sum(n.get("done", 0) for n in numbers)), int(sum(n.get("failed", 0) for n in numbers))

    name = None if config is None else config.project_name
    tracking = begin(level, name, usage_address(config), backends, counts)
    if tracking is not None:
        exit_hook.register(tracking)
    return tracking


def _progress_bar(backends: list[ParslExecutor], label: str) -> Any:
    from parsl_pool.progress import ProgressBar  # only on request

    return ProgressBar(backends, label)


def _fresh(error: BaseException) -> BaseException:
    """A copy: a shared exception object would collect everybody's traceback."""
    return type(error)(*error.args) if isinstance(error, PoolBroken) else error
