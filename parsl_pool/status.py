"""What a pool is doing: a snapshot for programs, and an explanation for people."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from parsl_pool.executors.base import ParslExecutor
from parsl_pool.futures.told import Progress


@dataclass(frozen=True, slots=True)
class PoolStatus:
    """A snapshot of a pool.

    Attributes:
        waiting: tasks that wait for the futures among their arguments.
        queued: tasks that wait for a worker.
        running: tasks that a worker has begun.
        done, failed: tasks that have ended, and those among them that failed.
        retried: tries that were repeated.
        workers: live workers that have said so. One that is just starting may have begun a task before.
        workers_started, workers_lost: how many ever started, and how many of them ended unasked.
        tasks_per_second: tasks done, over the time since the first submit.
        managers: (name, tasks that it holds, tasks that it asks for) of each.
        dropped_messages: messages that made no sense, and connections that were refused, since the interchange was
            started. Other than 0: something writes where it should not, or somebody tries to get in; the log has more.
        stages: label -> "new", "open", "draining", "stopping", "closed" or "broken", of each executor.
        progress: (number, name, progress) of each running task that has told its own by `parsl_pool.task.progress`.
    """

    waiting: int = 0
    queued: int = 0
    running: int = 0
    done: int = 0
    failed: int = 0
    retried: int = 0
    workers: int = 0
    workers_started: int = 0
    workers_lost: int = 0
    tasks_per_second: float = 0.0
    managers: tuple[tuple[str, int, int], ...] = ()
    dropped_messages: int = 0
    stages: tuple[tuple[str, str], ...] = ()
    progress: tuple[tuple[int, str, Progress], ...] = ()


def snapshot(backends: Iterable[ParslExecutor]) -> PoolStatus:
    """The state of a pool's executors. Asks their interchanges; without an answer theirs are missing."""
    numbers: dict[str, float] = {}
    managers: list[tuple[str, int, int]] = []
    stages = []
    dropped_messages = 0
    progress: list[tuple[int, str, Progress]] = []
    for backend in backends:
        for name, value in backend.counts().items():
            numbers[name] = numbers.get(name, 0) + value
        loads, dropped = backend.manager_loads()
        managers += loads
        dropped_messages += dropped
        progress += backend.progress()
        stages.append((backend.label, backend.stage_name()))
    rate = numbers.pop("tasks_per_second", 0.0)
    whole = {name: int(value) for name, value in numbers.items()}
    return PoolStatus(
        tasks_per_second=rate,
        managers=tuple(managers),
        dropped_messages=dropped_messages,
        stages=tuple(stages),
        progress=tuple(progress),
        **whole,
    )
