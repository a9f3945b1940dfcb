"""What a pool is to workflows: Parsl's DataFlowKernel, by its names."""

from __future__ import annotations

import os
import random
import threading
from functools import partial
from time import time
from weakref import ref

from parsl_pool.errors import ConfigurationError, WrongType, shown

TYPE_CHECKING = False  # checkers know the name; taking it from `typing` would load that
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from typing import Any, TypeVar

    from parsl_pool.config import Config
    from parsl_pool.dataflow.flow import Flow
    from parsl_pool.dataflow.helpers import Helpers
    from parsl_pool.dataflow.record import Options
    from parsl_pool.executors.base import ParslExecutor
    from parsl_pool.futures import AppFuture
    from parsl_pool.memoization.memoizer import Memoizer
    from parsl_pool.objects import Objects, Ref
    from parsl_pool.run_directory import RunDirectory, RunPlace
    from parsl_pool.staging.data_manager import DataManager
    from parsl_pool.staging.stager import Stager
    from parsl_pool.status import PoolStatus

    T = TypeVar("T")

INTERNAL = "_parsl_internal"
"""Label of an executor of a few threads, made when it is first named. Calls that name no executor never go there."""

_adding = threading.Lock()  # held while a pool gets that one


class KernelFace:
    """The part of a pool that the standard library's pools have not."""

    _backends: dict[str, Any]
    _backend: Any
    _all_backends: list[ParslExecutor]  # the finalizer has it too
    _flow_box: list[Flow]
    _call: Callable[..., AppFuture[Any]]
    _place: RunPlace
    _directory: RunDirectory | None = None
    _config: Config | None
    _data_manager: DataManager | None = None
    _objects: Objects | None = None  # those that it has been given
    _token = ""  # by which the pool is known in its own tasks, once it was sent there

    if TYPE_CHECKING:

        @property
        def size(self) -> int: ...

    _are_many = False  # executors
    _defaults: tuple[Options, Options] | None = None  # the executor's options, and what the Config makes of them

    if TYPE_CHECKING:

        def _open(self) -> None: ...

        def _flow(self) -> Flow: ...

        def shutdown(self) -> None: ...

        def status(self) -> PoolStatus: ...

        def submit_with(
            self, options: Options, fn: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
        ) -> AppFuture[Any]: ...

    @property
    def config(self) -> Config:
        """What the pool was made of."""
        if self._config is None:
            from parsl_pool.config import Config  # loaded by ParslPoolExecutor.__init__

            said = self._backend.options
            self._config = Config(
                list(self._backends.values()),
                retries=said.retries,
                lost_retries=said.lost_retries,
                run_dir=self._place.path,
            )
        return self._config

    def put(self, value: T) -> Ref[T]:
        """Give the pool an object once, for many tasks: where the Ref is an argument, at any depth, they get it.

        It is pickled now; what is changed in it later, tasks do not see. It travels to each node once, when the first
        task there needs it, and not at all on this machine, where all share its memory.

        Raises:
            SerializationError: it can't be pickled.
            RuntimeError: after shutdown.
            OSError: there is no memory, or no descriptor left.
        """
        self._open()
        return self._objects_here().put(value)

    def _objects_here(self) -> Objects:
        if self._objects is None:
            from parsl_pool.objects import Objects  # only for those who put something

            made: Objects = self.__dict__.setdefault("_made_objects", Objects(self._all_backends))
            made.serve()  # whichever thread is first, all executors know the same
            self._objects = made
            made.serve()  # one may have been added this moment
        return self._objects

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickles as a handle: what arrives in a task of this pool submits to it."""
        from parsl_pool.interchange import handle  # only for pools that are sent to their tasks

        if not self._token:
            self._token = os.urandom(8).hex()
            handle.POOLS[self._token] = self
        for backend in self._all_backends:
            backend.token = self._token
        return handle.restore, (self._token, self._backend.label, self.size)

    @property
    def default_options(self) -> Options:
        """What holds for calls that don't say otherwise."""
        options: Options = self._backend.options
        known = self._defaults
        if known is None or known[0] is not options:
            self._defaults = known = (options, self._with_config(options))
        return known[1]

    def _with_config(self, options: Options) -> Options:
        config = self._config
        if self._are_many:
            from parsl_pool.dataflow.record import Unsaid  # loaded with the executors

            options = options._replace(retries=Unsaid(options.retries), lost_retries=Unsaid(options.lost_retries))
        if config is None:
            return options
        says_more = config.retry_handler or config.dependency_resolver or config.retry_delay or config.sandbox
        if not says_more:
            return options  # the very same: the executor knows by that that nothing more is asked of it
        return options._replace(
            retry_handler=config.retry_handler,
            retry_delay=config.retry_delay,
            dependency_resolver=config.dependency_resolver,
            sandbox=config.sandbox,
        )

    def _placed(self, options: Options) -> tuple[Any, Options]:
        """One of the executors that a call may go to, and what holds for it there."""
        labels = options.executors or tuple(self._backends)
        if len(labels) > 1 and not options.executors:
            labels = tuple([label for label in labels if label != INTERNAL])
        backend = self._backends[labels[0] if len(labels) == 1 else random.choice(labels)]
        return backend, self._as_said_by(backend, options) if self._are_many else options

    def _as_said_by(self, backend: Any, options: Options) -> Options:
        """The options of a call, with what the executor itself says where the call says nothing."""
        from parsl_pool.dataflow.record import Unsaid  # as above

        own: Options = backend.options
        there = options._replace(
            retries=own.retries if type(options.retries) is Unsaid else options.retries,
            lost_retries=own.lost_retries if type(options.lost_retries) is Unsaid else options.lost_retries,
        )
        return own if there == own else there  # the very same, see above

    def _call_somewhere(self, fn: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> AppFuture[Any]:
        """What `submit` does where an executor alone can't: there are several, or the Config has more to say."""
        return self.submit_with(self.default_options, fn, args, kwargs)

    @property
    def run_id(self) -> str:
        """Names this run: what `parsl_pool.task.run_id` is in its tasks."""
        return self._place.run_id

    @property
    def executors(self) -> dict[str, Any]:
        """The executors, by label."""
        return dict(self._backends)

    def add_executors(self, executors: Iterable[ParslExecutor]) -> None:
        """Have these run tasks, too, from now on.

        Raises:
            ConfigurationError: one has a label that is taken, or belongs to a pool already.
            RuntimeError: after shutdown.
        """
        from parsl_pool.config import Config  # loaded by ParslPoolExecutor.__init__

        more = Config(executors)
        for executor in more.executors:
            if executor.label in self._backends:
                raise ConfigurationError(f"an executor has the label {executor.label!r} already: give this one another")
        self._open()
        for executor in more.claim():
            config = self.config
            executor.adopt(config.retries, config.lost_retries, self._place, config.initialize_logging)
            executor.adopt_strategy(config.strategy, config.max_idletime, config.strategy_period)
            for flow in self._flow_box:
                flow.hold(executor)
            self._bring_files_of([executor])
            self._all_backends.append(executor)
            if self._objects is not None:
                self._objects.serve()
            self._backends[executor.label] = executor
        self._are_many, self._defaults = True, None
        self._call = self._call_somewhere
        self._open()

    def _add_internal(self, label: str) -> bool:
        """Have the executor for tasks of this very process, if that is what the label names."""
        if label != INTERNAL:
            return False
        from parsl_pool.executors.threads import ThreadPoolExecutor  # for who brings files by such tasks

        with _adding:
            if label not in self._backends:
                self.add_executors([ThreadPoolExecutor(label, max_threads=self.config.internal_tasks_max_threads)])
        return True

    def new_task_id(self) -> int:
        """A number for a task, before it is submitted."""
        self._open()
        task: int = self._backend.new_id()
        return task

    def wait_for_current_tasks(self) -> None:
        """Wait until all tasks are done that were submitted before this call."""
        for backend in self._backends.values():
            backend.wait_for_current_tasks()
        for flow in self._flow_box:
            flow.wait_for_current_tasks()

    def run_directory(self) -> str:
        """The directory of this run, made now if it was not there."""
        flow = self._flow()
        if self._directory is None:
            self._directory = self._place.enter()
            flow.at_end(self._place.leave)
        return self._directory.path

    # -- by Parsl's names

    def cleanup(self) -> None:
        """End, when all tasks are done: as `shutdown()`."""
        self.shutdown()

    def log_task_states(self) -> None:
        """Write on the log how many tasks there are, by what they do."""
        from parsl_pool.loggers import careful_logger  # loaded by ParslPoolExecutor.__init__

        careful_logger("parsl_pool.dataflow").info("pool %s: %s", self._backend.label, self.status())

    def wipe_task(self, task_id: int) -> None:
        """Nothing: a task is forgotten by itself when it is done."""

    # -- memory

    def _make_flow(self) -> Flow:
        from parsl_pool.dataflow.flow import Flow  # only for calls of more than one step

        config = self.config
        flow = Flow(self._backend.label, config.internal_tasks_max_threads)
        flow.keeps_records = not config.garbage_collect
        flow.stager = _make_stager(self.data_manager)
        if config.app_cache:
            flow.make_reuse = _maker_of_memory(config, self._backend.label, ref(self))
        return flow

    @property
    def data_manager(self) -> DataManager:
        """Who brings the files of its tasks."""
        if self._data_manager is None:
            from parsl_pool.staging.data_manager import DataManager  # only for calls with files

            self.__dict__.setdefault("_data_manager", DataManager(self))  # one step: threads may ask at the same time
        dm: DataManager = self.__dict__["_data_manager"]
        return dm

    def _bring_files_of(self, backends: Iterable[Any]) -> None:
        """Have calls of these executors come back here if files are to be brought for them."""
        pool = ref(self)  # an executor outlives a pool that is dropped
        for backend in backends:
            backend.files_are_in_place = partial(_are_in_place, pool, backend.label)
            backend.call_with_files = partial(_call_with_files, pool, backend)
            backend.in_helper = partial(_in_helper, pool, backend)

    def _memory(self) -> Memoizer:
        memory: Any = self._flow().reuse
        if not hasattr(memory, "why"):
            raise ConfigurationError("this pool remembers nothing: its Config has app_cache=False")
        known: Memoizer = memory
        return known

    def checkpoint(self, tasks: Iterable[Any] | None = None) -> str:
        """Write results that are not written yet; the checkpoint's directory.

        Args:
            tasks: only those of these, as futures or as handlers know them; None: all.

        Raises:
            DataFlowException: the pool's Config has no checkpoint_mode.
        """
        return self._memory().checkpoint(None if tasks is None else set(filter(None, map(_digest_of, tasks))))

    def load_checkpoints(self, paths: Sequence[str | os.PathLike[str]]) -> int:
        """Take results from these checkpoints too; how many could be loaded.

        Raises:
            BadCheckpoint: none could.
        """
        return self._memory().load(paths)

    def why(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> str:
        """Why this call would run, and not be known: the earlier call that is nearest, and in what they differ."""
        is_app = hasattr(fn, "ignore_for_cache")
        ignore = getattr(fn, "ignore_for_cache", None) or ()
        return self._memory().why(getattr(fn, "func") if is_app else fn, args, kwargs, ignore, is_app)  # noqa: B009

    def log_name(self, task: int, name: str, label: str, stream: str) -> str:
        """The file for a task's stdout or stderr: in `task_logs/`, in folders of 10,000 tasks."""
        from parsl_pool.streams import named  # loaded with apps, and the options of calls

        folder = os.path.join(self.run_directory(), "task_logs", f"{task // 10_000:04}")
        return os.path.join(folder, named(task, name, label) + f".{stream}")

    def automatic(
        self, task: int, name: str, label: str, options: Options, call: tuple[Any, Any, Any], stream: str
    ) -> Any:
        """The same, or what the Config's std_autopath makes of the call (fn, args, kwargs)."""
        made = self.config.std_autopath
        if made is None:
            return self.log_name(task, name, label, stream)
        from parsl_pool.dataflow.record import FlowRecord  # loaded by ParslPoolExecutor.__init__

        record = FlowRecord(task, options, name, time())
        record.func, record.args, record.kwargs = call
        return made(record, stream)


def _make_stager(dm: DataManager) -> Stager:
    from parsl_pool.staging.stager import Stager  # as the flow, for which this is

    return Stager(dm)


def _are_in_place(pool: ref[KernelFace], label: str, files: Iterable[Any]) -> bool:
    """Whether nothing is to be done for these files."""
    known = pool()
    return known is None or known.data_manager.are_in_place(label, files)


def _in_helper(pool: ref[KernelFace], backend: Any, job: Callable[[], None]) -> None:
    """Have a thread run it that may submit until the pool has ended."""
    known = pool()
    (backend.kernel.in_helper if known is None else known._flow().helpers.run)(job)


def _call_with_files(
    pool: ref[KernelFace], backend: Any, fn: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any],
    options: Options | None,
) -> AppFuture[Any]:  # fmt: skip
    """What the executor's `call` does, for a call whose files have to be brought."""
    from parsl_pool.dataflow.call import Call  # as the flow, which is loaded now

    known = pool()
    assert known is not None  # else all files are in place
    return known._flow().submit(Call(fn, args, kwargs), backend.options if options is None else options, backend)


def _maker_of_memory(config: Config, label: str, pool: ref[KernelFace]) -> Callable[[Helpers], Memoizer]:
    """Not a method of the pool's: the flow has this, and outlives a pool that is dropped without a shutdown."""

    def run_directory() -> str:
        known = pool()
        assert known is not None  # who writes checkpoints has made its memory at the start
        return known.run_directory()

    def make(helpers: Helpers) -> Memoizer:
        from parsl_pool.memoization.memoizer import Memoizer  # only for calls whose results are kept

        return Memoizer(
            label, helpers.run, config.checkpoint_files, config.checkpoint_mode, run_directory, config.checkpoint_period
        )

    return make


def _digest_of(task: Any) -> bytes | None:
    """What a task's result is kept under; None if it is not."""
    from parsl_pool.dataflow.record import TaskRecord  # loaded by ParslPoolExecutor.__init__, as the next
    from parsl_pool.futures import AppFuture

    record = task._record if isinstance(task, AppFuture) else task
    if not isinstance(record, TaskRecord | None):
        raise WrongType(f"tasks must be futures of this pool's tasks, or their records, got {shown(task)}")
    key = getattr(record, "hashsum", None)
    return bytes.fromhex(key) if key is not None else None
