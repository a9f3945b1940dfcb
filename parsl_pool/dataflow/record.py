"""A task's record: its options, and the story of its tries. Only tasks that are not of the simplest kind have one."""

from __future__ import annotations

from enum import Enum
from typing import Any, NamedTuple


class Fault(Enum):
    """Whose fault it is that a try failed, hence which budget pays."""

    TASK = "the task's own: it raised, or its worker died under it"
    PLACE = "of the place where it ran: its manager, node or interchange went away"
    NONE = "nobody's: it had only been waiting there"


class Attempt(NamedTuple):
    """One try, as it ended. Times are `time.time()` seconds."""

    number: int
    host: str
    began: float
    ended: float
    error: str


class Options(NamedTuple):
    """What can be said about a single call, or about all calls of a pool."""

    retries: int = 0
    lost_retries: int = 3
    priority: int = 0
    label: str = ""
    walltime: float | None = None  # seconds that one try may take
    executors: tuple[str, ...] = ()  # labels; empty: any


class TaskRecord:
    """What is known about one task beyond its future. Belongs to whoever moves the task: one thread at a time."""

    __slots__ = ("attempts", "began", "dependencies", "label", "lost_left", "options", "retries_left", "task")

    def __init__(self, task: int, options: Options, label: str, began: float) -> None:
        self.task = task
        self.options = options
        self.label = options.label or label
        self.retries_left = options.retries
        self.lost_left = options.lost_retries
        self.began = began
        self.attempts: list[Attempt] = []
        self.dependencies: Any = None  # what it waits for, until it is sent

    def failed(self, fault: Fault, host: str, error: str, now: float) -> bool:
        """Note that a try failed. True: there is to be another one."""
        if fault is Fault.NONE:
            return True
        self.attempts.append(Attempt(len(self.attempts), host, self.began, now, error))
        self.began = now
        if fault is Fault.TASK:
            self.retries_left -= 1
            return self.retries_left >= 0
        self.lost_left -= 1
        return self.lost_left >= 0
