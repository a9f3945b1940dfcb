"""What every backend is."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from concurrent.futures import Future, wait
from typing import TYPE_CHECKING, Any

from parsl_pool import checks
from parsl_pool.dataflow.record import Options, TaskRecord
from parsl_pool.dataflow.staged import FILES, STAGING_INHIBIT, FilesInArguments, Instead
from parsl_pool.dataflow.traverse import ObjectCall, things_in, with_replaced
from parsl_pool.futures import AppFuture
from parsl_pool.futures.told import Progress
from parsl_pool.interchange.request import Asked
from parsl_pool.recipe import Recipe
from parsl_pool.run_directory import RunPlace

if TYPE_CHECKING:
    from parsl_pool.objects import Objects
    from parsl_pool.staging.base import Staging


class ParslExecutor(Recipe, ABC):
    """A place where tasks run.

    Attributes:
        label: name of the executor, unique within a Config.
        is_claimed: a pool has it, and no other can.
    """

    label: str
    is_claimed: bool = False
    options: Options = Options()
    _own: tuple[int | None, int | None] = (None, None)
    broken: BaseException | None = None
    has_processes: bool = True  # its tasks run in processes of their own, one at a time in each
    token: str = ""  # by which the pool is known to tasks that make calls to it
    storage_access: list[Staging] | None = None  # who brings the files of its tasks; None: `default_staging`
    working_dir: str | None = None  # where they are brought to; None: the run's directory
    files_are_in_place: Callable[[Any], bool] | None = None  # whether there is nothing to be done for these
    in_helper: Callable[[Callable[[], None]], None] | None = None  # has it run where users' code may
    call_with_files: Callable[..., AppFuture[Any]] | None = None  # as call(), once they have been brought
    objects: Objects | None = None  # those of the pool, once it has been given some
    wants_payloads: bool = False  # whether launch_try() takes results as payloads, or as the futures themselves

    @abstractmethod
    def start(self) -> None:
        """Begin to work. Raises StartError."""

    @abstractmethod
    def call(
        self, fn: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any], options: Options | None
    ) -> AppFuture[Any]:
        """Run a call; options None: the pool's own. Bad arguments make a future that has failed."""

    @abstractmethod
    def begin_shutdown(self, kill: bool) -> None:
        """Take no more; end when all is done. kill: end at once. Returns without waiting."""

    @abstractmethod
    def join(self, timeout: float | None = None) -> bool:
        """Wait for the end. True if it has come."""

    @property
    @abstractmethod
    def is_open(self) -> bool:
        """True while it takes calls: started, not shut down, not broken."""

    @property
    def is_new(self) -> bool:
        """True before its first call: then forked children of this process can use it, too."""
        return False

    @abstractmethod
    def cancel_all(self) -> None:
        """Cancel every task that has not begun."""

    @abstractmethod
    def explain(self) -> str:
        """What waits, for what, since when; for people."""

    @abstractmethod
    def describe(self) -> str:
        """The executor in a few words, for a pool's repr."""

    # -- for the tasks of a `Flow`, which may try a call several times

    @abstractmethod
    def new_id(self) -> int:
        """A number for a task that no other one has, or will have."""

    @abstractmethod
    def hold(self, is_busy: Callable[[], bool]) -> None:
        """Do not end as long as this says so, once shut down: it will launch more tries. It calls wake() then."""

    @abstractmethod
    def wake(self) -> None:
        """What hold() was given may answer otherwise now."""

    def prepare(self, fn: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """A call that can be launched, more than once. It has `futures`, those among its arguments, and
        `values(results)`, its arguments when their results are known.

        Raises:
            SerializationError: it can't be pickled.
            FilesInArguments: there are files that have to be brought.
        """
        are_in_place = self.in_place_for(kwargs)
        if are_in_place is not None:
            files = things_in((args, kwargs), FILES)
            if files and not are_in_place(files):
                raise FilesInArguments(files)
        return ObjectCall(fn, args, kwargs)

    def in_place_for(self, kwargs: Mapping[str, Any]) -> Callable[[Any], bool] | None:
        """What tells whether the files of a call are in place; None: they are not looked at."""
        return None if kwargs and kwargs.get(STAGING_INHIBIT) else self.files_are_in_place

    def prepare_staged(
        self, fn: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any], instead: Instead | None = None
    ) -> Any:
        """The same when they have been, or will be when the futures are done. instead: what takes their places."""
        if instead is not None:
            args, kwargs = with_replaced((args, kwargs), FILES, instead.of)
        return ObjectCall(fn, args, kwargs)

    def launch_try(
        self, call: Any, results: list[Any], options: Options, of: TaskRecord | None = None
    ) -> AppFuture[Any]:
        """Run what prepare() made; the futures are done. Also after begin_shutdown().

        of: the task that this is a try of, with its earlier tries, and what they have told.
        """
        return self.call(call.fn, call.args, call.kwargs, options)

    @abstractmethod
    def unfinished(self) -> list[Future[Any]]:
        """The futures of tasks that are not done. Some may be missing that end just now."""

    def wait_for_current_tasks(self) -> None:
        """Wait until all tasks are done that are there now."""
        wait(self.unfinished())

    def counts(self) -> dict[str, float]:
        """Numbers for `PoolStatus`, by the names of its attributes. Asks nobody."""
        return {}

    def progress(self) -> list[tuple[int, str, Progress]]:
        """Number, name and progress of the running tasks that have told theirs."""
        return []

    def manager_loads(self) -> tuple[list[tuple[str, int, int]], int]:
        """Name, held tasks and window of each manager, if there are any; and how many messages were dropped."""
        return [], 0

    def stage_name(self) -> str:
        """"new", "open", "draining", "stopping", "closed" or "broken"."""
        return "broken" if self.broken else "open" if self.is_open else "closed"

    def processes(self) -> dict[int, Any]:
        """Worker processes by process id."""
        return {}

    def begin_exit(self, kill: bool) -> None:
        """The interpreter ends: as begin_shutdown, and nothing may be started any more."""
        self.begin_shutdown(kill)

    def adopt(self, retries: int, lost_retries: int, place: RunPlace, logs: bool) -> None:
        """Take over what a pool says about all of its executors, where nothing else has been said.

        Args:
            place: the run's directory.
            logs: whether there are to be log files in it.
        """
        self.options = self._with_own(self.options._replace(retries=retries, lost_retries=lost_retries))

    def adopt_strategy(self, strategy: str, max_idletime: float, strategy_period: float) -> None:
        """Take over how blocks are to come and go, if there are any; see `Config`."""
        return

    def say(self, retries: int | None, lost_retries: int | None = None) -> None:
        """Take what this executor alone is given; None: what its pool says, once it has one. Raises
        ConfigurationError."""
        budget = checks.optional(checks.budget)
        self._own = budget("retries", retries), budget("lost_retries", lost_retries)
        self.options = self._with_own(self.options)

    def take_storage(self, storage_access: Any, working_dir: Any) -> None:
        """Take who brings its tasks' files, and where to. Raises ConfigurationError."""
        self.working_dir = checks.optional(checks.path)("working_dir", working_dir)
        if storage_access is not None:
            from parsl_pool.staging.base import Staging  # only for those who say something

            rule = checks.list_of(checks.instance_of(Staging, "a Staging"), "a list such as [NoOpFileStaging()]")
            self.storage_access = rule("storage_access", storage_access)

    def _with_own(self, options: Options) -> Options:
        retries, lost_retries = self._own
        return options._replace(
            retries=options.retries if retries is None else retries,
            lost_retries=options.lost_retries if lost_retries is None else lost_retries,
        )

    def submit(
        self, func: Callable[..., Any], resource_specification: dict[str, Any], *args: Any, **kwargs: Any
    ) -> Future[Any]:
        """Run `func(*args, **kwargs)`, as Parsl's executors do it.

        Raises:
            InvalidResourceSpecification: it has keys that this executor doesn't know, or values that can't be.
        """
        from parsl_pool import resources  # rarely needed

        asked = resources.asked("resource_specification", resource_specification)
        checks.function("func", func)
        if self.is_new:
            self.start()  # nobody has used it through a pool
        if asked is None:
            return self.call(func, args, kwargs, None)
        self.check_resources(asked)
        priority = self.options.priority if asked.priority is None else asked.priority
        return self.call(func, args, kwargs, self.options._replace(resources=asked, priority=priority))

    def check_resources(self, asked: Asked) -> None:
        """Raise InvalidResourceSpecification for what this executor can't give."""
        from parsl_pool.errors import InvalidResourceSpecification, shown  # rarely needed

        raise InvalidResourceSpecification(self, f"it takes no resource_specification, got {shown(asked.given)}")

    def shutdown(self, block: bool = True) -> None:
        """End, when all tasks are done."""
        self.begin_shutdown(kill=False)
        if block:
            self.join()

    def __enter__(self) -> ParslExecutor:
        return self

    def __exit__(self, *exception: object) -> None:
        self.shutdown()
