"""Who waits for whom: the core of the dataflow kernel, without futures, threads or clocks.

Each method is an event; it returns effects. Not thread-safe: `kernel.py` calls it under its lock. A task with n
dependencies costs O(n) in all, whenever and in whatever order they settle.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple


class Launch(NamedTuple):
    """Everything that this task needs is there."""

    task: int


class Refuse(NamedTuple):
    """This task can't run: these dependencies of its failed."""

    task: int
    failed: list[int]


Effect = Launch | Refuse


class _Waiting:
    """A task that waits."""

    __slots__ = ("dependencies", "failed", "missing")

    def __init__(self, dependencies: set[int]) -> None:
        self.dependencies = tuple(dependencies)  # numbers in a tuple are nothing that the garbage collector looks at
        self.missing = len(dependencies)
        self.failed: list[int] | None = None  # few have any: an object less for each task


class Graph:
    """Tasks that wait for dependencies. A settled dependency, and a task that moved on, are forgotten."""

    def __init__(self) -> None:
        self._waiting: dict[int, _Waiting] = {}
        self._dependents: dict[int, dict[int, None]] = {}  # dependency -> tasks, in order; no empty ones

    def __len__(self) -> int:
        return len(self._waiting)

    def submitted(self, task: int, dependencies: set[int], failed: Sequence[int] = ()) -> list[Effect]:
        """A task that needs these; none of them has been reported as settled while somebody waited for it.

        failed: further ones, which have ended already, and failed.
        """
        if task in self._waiting:
            raise ValueError(f"task {task} waits already")
        if not dependencies:
            return [Refuse(task, list(failed)) if failed else Launch(task)]
        waiting = self._waiting[task] = _Waiting(dependencies)
        waiting.failed = list(failed) or None
        for dependency in dependencies:
            self._dependents.setdefault(dependency, {})[task] = None
        return []

    def settled(self, dependency: int, failed: bool) -> list[Effect]:
        """A dependency has ended. Nobody may wait for it: then nothing happens."""
        effects: list[Effect] = []
        for task in self._dependents.pop(dependency, ()):
            waiting = self._waiting[task]
            waiting.missing -= 1
            if failed:
                waiting.failed = waiting.failed or []
                waiting.failed.append(dependency)
            if not waiting.missing:
                del self._waiting[task]
                effects.append(Refuse(task, waiting.failed) if waiting.failed else Launch(task))
        return effects

    def withdrawn(self, task: int) -> bool:
        """A task is not to run after all. True if it was waiting."""
        waiting = self._waiting.pop(task, None)
        if waiting is None:
            return False
        # Numbers may be given again, its own and those of what it waited for: nothing of them may stay.
        for dependency in waiting.dependencies:
            dependents = self._dependents.get(dependency)
            if dependents is not None:
                dependents.pop(task, None)
                if not dependents:
                    del self._dependents[dependency]
        return True

    def is_awaited(self, dependency: int) -> bool:
        """True if a settled() for this dependency is still to come."""
        return dependency in self._dependents
