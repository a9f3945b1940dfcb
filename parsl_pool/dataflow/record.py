"""A task's record: its options, and the story of its tries. Only tasks that are not of the simplest kind have one."""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from typing import Any, NamedTuple

from parsl_pool.dataflow.resolvers import DependencyResolver
from parsl_pool.futures.states import Attempt, TaskState
from parsl_pool.futures.told import Progress, Told
from parsl_pool.interchange import own_directory
from parsl_pool.interchange.request import Asked


class Fault(Enum):
    """Whose fault it is that a try failed, hence which budget pays."""

    TASK = "the task's own: it raised, or its worker died under it"
    PLACE = "of the place where it ran: its manager, node or interchange went away"
    NONE = "nobody's: it had only been waiting there"


class Unsaid(int):
    """A budget that the call does not name: that of the executor it goes to holds."""


class Options(NamedTuple):
    """What can be said about a single call, or about all calls of a pool."""

    retries: int = 0
    lost_retries: int = 3
    priority: int = 0
    label: str = ""
    walltime: float | None = None  # seconds that one try may take
    executors: tuple[str, ...] = ()  # labels; empty: any
    cache: bool = False  # a call that was done before is not done again
    ignore_for_cache: tuple[str, ...] = ()  # arguments that make no difference
    retry_handler: Callable[[BaseException, Any], float] | None = None  # what a failed try costs of `retries`
    retry_delay: float = 0.0  # seconds before the second try, twice as many before each further one
    dependency_resolver: DependencyResolver | None = None  # tells what the call waits for; None: all, at any depth
    resources: Asked | None = None  # what it needs of the place where it runs
    join: bool = False  # the call runs here, and returns futures, whose results are its own
    result: str = "value"  # what the future's result is: "ref" for a Ref of it
    sandbox: bool | str | None = None  # each try runs in a directory of its own; where these are made; True: as usual

    @property
    def is_plain(self) -> bool:
        """True if an executor can do all this by itself."""
        return not (
            self.cache or self.retry_handler or self.retry_delay or self.join or self.dependency_resolver
            or self.sandbox or self.result != "value"
        )  # fmt: skip


class TaskRecord:
    """What is known about one task beyond its future. Belongs to whoever moves the task: one thread at a time."""

    __slots__ = (
        "attempts", "began", "dependencies", "label", "lost_left", "options", "parent", "retries_left", "task", "told",
    )  # fmt: skip

    def __init__(self, task: int, options: Options, label: str, began: float) -> None:
        self.task = task
        self.options = options
        self.label = options.label or label
        self.retries_left = options.retries
        self.lost_left = options.lost_retries
        self.began = began
        self.attempts: list[Attempt] = []
        self.dependencies: Any = None  # what it waits for, until it is sent
        self.parent: TaskRecord | None = None  # that of the task which this is a try of
        self.told: Told | None = None  # what it has told while it runs; see `told_by`

    @property
    def tries(self) -> int:
        """How many have failed: the number of the present one."""
        return len(self.attempts) + (len(self.parent.attempts) if self.parent is not None else 0)

    def failed(
        self, fault: Fault, host: str, error: str, now: float, *, worker: str = "", began: float | None = None
    ) -> bool:
        """Note that a try failed. True: there is to be another one.

        Args:
            began: when; None: the last one's end, or the task's beginning.
        """
        if fault is Fault.NONE:
            return True
        began = self.began if began is None else began
        self.attempts.append(Attempt(len(self.attempts), host, began, now, error, worker))
        self.began = now
        if fault is Fault.TASK:
            self.retries_left -= 1
            return self.retries_left >= 0
        self.lost_left -= 1
        return self.lost_left >= 0


class FlowRecord(TaskRecord):
    """The record of a task that takes more than one step. Plugins get it: their names for what they read are below.

    Attributes:
        id, try_id: numbers of the task, and of its try, from 0 on.
        func, func_name, args, kwargs: the call; let go when the task is over.
        app_fu, exec_fu: the user's future, and that of the present try.
        executor: label of the executor of the present try.
        status: a TaskState.
        depends: futures that it waits for, or has waited for.
        fail_count, fail_cost, fail_history: failed tries, what they cost of the budget, and their errors as text.
        retries_left: what is left of the budget.
        memoize, hashsum, from_memo: whether its result is kept, under which key, and whether it comes from there.
        ignore_for_cache: names of arguments that make no difference for that.
        stdout, stderr, outputs: what the future has under these names.
        sandbox, directory: path of the directories of its tries, without what tells one from another, and that of the
            last one; None: they have none of their own.
        progress: what the task has said last about how far it is (fraction, text, when), or None.
        join, joins: whether it is a join app, and the futures that it has returned.
        time_invoked, time_returned, try_time_launched, try_time_returned: `time.time()` seconds.

    The same can be read as items: `record["fail_count"]`.
    """

    __slots__ = (
        "app_fu", "args", "depends", "exec_fu", "executor", "fail_cost", "from_memo", "func", "func_name", "hashsum",
        "is_app", "joins", "kwargs", "outputs", "sandbox", "status", "stderr", "stdout", "time_invoked",
        "time_returned", "try_time_launched", "try_time_returned",
    )  # fmt: skip

    def __init__(self, task: int, options: Options, label: str, now: float) -> None:
        super().__init__(task, options, label, now)
        self.func: Any = None
        self.func_name = label
        self.args: tuple[Any, ...] = ()
        self.kwargs: dict[str, Any] = {}
        self.app_fu: Any = None
        self.exec_fu: Any = None
        self.executor = ""
        self.status = TaskState.unsched
        self.depends: list[Any] = []
        self.fail_cost = 0.0
        self.hashsum: str | None = None
        self.from_memo = False
        self.is_app = False
        self.joins: Any = None
        self.stdout: Any = None
        self.stderr: Any = None
        self.outputs: tuple[Any, ...] = ()
        self.sandbox: str | None = None
        self.time_invoked = now
        self.time_returned: float | None = None
        self.try_time_launched: float | None = None
        self.try_time_returned: float | None = None

    @property
    def id(self) -> int:
        """Number of the task."""
        return self.task

    @property
    def try_id(self) -> int:
        """Number of the present try."""
        return len(self.attempts)

    @property
    def fail_count(self) -> int:
        """How many tries have failed."""
        return len(self.attempts)

    @property
    def fail_history(self) -> list[str]:
        """The errors of the failed tries."""
        return [attempt.error for attempt in self.attempts]

    @property
    def memoize(self) -> bool:
        """True if its result is kept for the same call."""
        return self.options.cache

    @property
    def ignore_for_cache(self) -> tuple[str, ...]:
        """Names of arguments that make no difference for the key."""
        return self.options.ignore_for_cache

    @property
    def directory(self) -> str | None:
        """That of the last try, or of the one that is under way; None: its tries have none of their own."""
        if self.sandbox is None:
            return None
        number = self.tries  # of those that have failed; one is under way, or has ended well, or there is none
        if self.exec_fu is not None:
            number += len(self.exec_fu.attempts)
        elif self.status is not TaskState.exec_done:
            number = max(0, number - 1)
        return own_directory.of_try(self.sandbox, number)

    def charge(self, cost: float) -> bool:
        """A try has failed, which costs so much of the budget. True: there may be another one."""
        self.fail_cost += cost
        left = self.options.retries - self.fail_cost
        self.retries_left = int(min(max(left, 0.0), self.options.retries))  # a cost may be infinite, or below 0
        return left >= 0

    @property
    def progress(self) -> Progress | None:
        """What the task has said last about how far it is; also by a try that has failed."""
        return self.told.progress if self.told is not None else None

    @property
    def join(self) -> bool:
        """True for a join app."""
        return self.options.join

    def __getitem__(self, name: str) -> Any:
        try:
            return getattr(self, name)
        except AttributeError:
            raise KeyError(name) from None

    def let_go(self) -> None:
        """The task is over: what it was made of may be large."""
        self.func = self.exec_fu = self.joins = self.app_fu = None
        if self.told is not None:
            self.told.state = None
        self.args, self.kwargs, self.depends = (), {}, []
