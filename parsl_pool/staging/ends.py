"""Futures of what comes after a task: its end, without its value, and the arrival of a file that it has written."""

from __future__ import annotations

from concurrent.futures import Future
from typing import Any

from parsl_pool.files import File
from parsl_pool.futures import AppFuture, Failure, Value, has_failed
from parsl_pool.futures.data_future import DataFuture
from parsl_pool.futures.lifted import Lifted


class End(AppFuture[None]):
    """Done with None when a task has returned; fails, or is cancelled, as that is."""

    def __init__(self, task: Future[Any]) -> None:
        super().__init__()
        self._tid = getattr(task, "tid", 0)
        task.add_done_callback(self._over)

    def _over(self, task: Future[Any]) -> None:
        if task.cancelled():
            self._become_cancelled()
        elif isinstance(task, AppFuture) and has_failed(task):
            self.finish(Lifted(task, "item", None))
        elif has_failed(task):
            self.finish(Failure(task.exception() or RuntimeError()))
        else:
            self.finish(Value(None))


def ended(task: Future[Any]) -> End:
    """The end of that task."""
    return End(task)


class SentFile(DataFuture):
    """A file that is brought elsewhere after its task: done when it is there. Fails as the task does, or as that."""

    def __init__(self, task: AppFuture[Any], arrives: Future[Any], file: File) -> None:
        self._task = task
        super().__init__(arrives, file, task.tid)

    def _written(self, fut: Future[Any]) -> None:
        task = self._task
        super()._written(task if task.done() and has_failed(task) else fut)
