"""The errors that are also a `BrokenProcessPool`: programs that catch that class from a future go on to work.

The difference: here a lost worker costs one task, and the pool goes on. Import these from `parsl_pool.errors`.
"""

from __future__ import annotations

from concurrent.futures.process import BrokenProcessPool

from parsl_pool.errors import BadStateException, ExecutorError, ParslPoolError, SerializationError, describe_fields

TYPE_CHECKING = False  # checkers know the name; taking it from `typing` would load that
if TYPE_CHECKING:
    from typing import Any


class PlaceLost(ParslPoolError, BrokenProcessPool):
    """Something below a task went away while the task was there.

    Attributes:
        facts: what is known about it, by name.
    """

    what = "a part of the pool"
    goes_on = "The pool goes on with the other tasks."

    def __init__(self, facts: dict[str, Any] | None = None, reason: str = "") -> None:
        super().__init__(facts, reason)
        self.facts: dict[str, Any] = dict(facts or {})
        self.reason = reason

    def __str__(self) -> str:
        facts = {name: value for name, value in self.facts.items() if "\n" not in str(value)}
        blocks = {name: value for name, value in self.facts.items() if "\n" in str(value)}
        text = f"{self.what} was lost"
        if self.reason:
            text += f": {self.reason}"
        if facts:
            text += f" ({describe_fields(facts)})"
        text += f". {self.goes_on}"
        for name, value in blocks.items():
            text += f"\n{name}:\n" + "\n".join(f"    {line}" for line in str(value).rstrip().split("\n"))
        return text


class WorkerLost(PlaceLost):
    """A worker process ended while it ran the task. Only this task is affected.

    `facts` may hold: worker, host, pid, task, signal or exit code, rss, oom, stderr, stacks.
    """

    what = "the worker that ran this task"

    @property
    def worker_id(self) -> Any:
        """The worker's number in its manager."""
        return self.facts.get("worker")

    @property
    def hostname(self) -> Any:
        """The host on which the worker ran."""
        return self.facts.get("host")


class WorkerKilled(WorkerLost):
    """The worker was ended on request, by `terminate_workers()`, `kill_workers()` or `future.kill()`."""

    what = "the place of this task"
    goes_on = "That was asked for, by terminate_workers(), kill_workers() or future.kill()."


class ManagerLost(PlaceLost):
    """A manager, or its node, went away while it held the task, and no try was left."""

    what = "the manager that held this task"

    @property
    def manager_id(self) -> Any:
        """The manager's name."""
        return self.facts.get("manager")

    @property
    def hostname(self) -> Any:
        """The host on which the manager ran."""
        return self.facts.get("host")


class InterchangeLost(ManagerLost):
    """The interchange process ended while the task ran under it, and no try was left."""

    what = "the interchange process that held this task"


class DeserializationError(SerializationError, BrokenProcessPool):
    """A task or a result could not be rebuilt from its bytes on the other side.

    It is a `BrokenProcessPool` because CPython's own tests expect that class here; unlike there, the pool
    goes on.
    """

    def __init__(self, reason: str, traceback_text: str = "") -> None:
        super().__init__("", "", reason)
        self.args = (reason, traceback_text)
        self.traceback_text = traceback_text

    def __str__(self) -> str:
        return f"{self.reason}. The pool goes on with the other tasks."


class PoolBroken(BadStateException, BrokenProcessPool):
    """The pool cannot run anything any more; the text says why. `submit` raises it from then on."""

    def __init__(self, reason: str, executor: object = "") -> None:
        super().__init__(executor, reason)
        self.args = (reason, self.executor)

    def __str__(self) -> str:
        return self.reason


class StartError(ExecutorError, BrokenProcessPool):
    """A process of the pool did not start; the text has its command and the tail of its stderr."""


class VersionMismatch(PoolBroken):
    """The pool's managers run another Python, or another parsl_pool, than this program. The text names both."""


class InitializerError(PoolBroken):
    """The initializer raised in a worker, so that no worker can start."""

    def __init__(self, text: str, traceback_text: str = "", executor: object = "") -> None:
        super().__init__(text, executor)
        self.args = (text, traceback_text, self.executor)
        self.text, self.traceback_text = text, traceback_text

    def __str__(self) -> str:
        return f"the initializer failed in a worker, the pool cannot work: {self.text}\n{self.traceback_text}"
