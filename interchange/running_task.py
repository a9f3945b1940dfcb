"""The task that runs in this thread or process, as it sees itself: what `parsl_pool.task` is the face of.

Where no task runs, everything is there and does nothing: a function that reports its progress can be called anywhere.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from parsl_pool.interchange.task_face import TaskFace

_NO_TASK = TaskFace()
_threads = threading.local()


class CallOfTask(TaskFace):
    """A call that a task has made, and runs itself while it waits for it: who it is, and whether it should stop, it
    shares with that task. What it says of itself nobody would know from what the task says."""

    def __init__(self, task: TaskFace) -> None:
        self._task = task
        self.id, self.try_number, self.worker_rank = task.id, task.try_number, task.worker_rank
        self.run_id, self.executor = task.run_id, task.executor

    def should_stop(self) -> bool:
        """See the base class."""
        return self._task.should_stop()

    def log(self, level: int, text: str) -> None:
        """See the base class."""
        self._task.log(level, text)


def current() -> TaskFace:
    """The task that runs in this thread, else in this process, else none."""
    task: TaskFace | None = getattr(_threads, "task", None)
    return task or _of_worker() or _NO_TASK


def _of_worker() -> Any:
    module = sys.modules.get("parsl_pool.interchange.worker")
    worker = module.here if module is not None else None
    if worker is None:
        return None
    if worker.task is None:
        from parsl_pool.interchange.worker_task import WorkerTask  # most tasks say nothing

        worker.task = WorkerTask(worker)
    return worker.task


def enter(task: TaskFace | None) -> None:
    """From now on this thread runs that task; None: none of its own."""
    _threads.task = task


@contextmanager
def call_of_it() -> Iterator[None]:
    """While this thread runs a call that its task has made."""
    around = getattr(_threads, "task", None)
    enter(CallOfTask(current()))
    try:
        yield
    finally:
        enter(around)


def line_of_worker() -> Any:
    """The TaskLine of this process if it is a worker, else None."""
    task = _of_worker()
    return None if task is None else task.line


def environment() -> dict[str, str]:
    """What programs that the running task starts are told of it; nothing where no task runs."""
    task = current()
    if not task.id:
        return {}
    return {
        "PARSL_POOL_TASK_ID": str(task.id),
        "PARSL_POOL_TRY_NUMBER": str(task.try_number),
        "PARSL_POOL_RUN_ID": task.run_id,
        "PARSL_POOL_EXECUTOR": task.executor,
    }
