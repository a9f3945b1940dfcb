"""`DataFuture`: a file that a task is to write."""

from __future__ import annotations

import os
from concurrent.futures import Future
from typing import Any

from parsl_pool.errors import WrongType, shown
from parsl_pool.files import File, as_file, shown_url
from parsl_pool.futures.app_future import AppFuture, has_failed
from parsl_pool.futures.lifted import Lifted
from parsl_pool.futures.outcome import Failure


class DataFuture(AppFuture[File]):
    """Done when the task has written the file; its result is the File. It fails as the task does.

    Args:
        fut: the future of the task.
        file_obj: the file, or its path or URL.
        tid: number of the task; None: that of `fut`.
    """

    def __init__(self, fut: Future[Any], file_obj: File | str | os.PathLike[str], tid: int | None = None) -> None:
        super().__init__()
        if not isinstance(fut, Future):
            raise WrongType(f"fut must be a future, got {shown(fut)}")
        if tid is not None and (not isinstance(tid, int) or isinstance(tid, bool)):
            raise WrongType(f"tid must be a whole number, or None, got {shown(tid)}")
        self.file_obj = as_file(file_obj, "file_obj")
        self.parent = fut
        self._tid = getattr(fut, "tid", 0) if tid is None else tid
        self._owner = _Owner()
        fut.add_done_callback(self._written)

    def _written(self, fut: Future[Any]) -> None:
        if fut.cancelled():
            self._become_cancelled()
        elif isinstance(fut, AppFuture) and has_failed(fut):
            self.finish(Lifted(fut, "item", None))
        elif has_failed(fut):
            self.finish(Failure(fut.exception() or RuntimeError()))
        else:
            self.set_result(self.file_obj)

    @property
    def filename(self) -> str:
        """Name of the file, without folders."""
        return self.file_obj.filename

    @property
    def filepath(self) -> str:
        """Path of the file, here."""
        return self.file_obj.filepath

    def __repr__(self) -> str:
        state = "done" if self.done() else "pending"
        return f"<DataFuture {shown_url(self.file_obj.url)} of task {self._tid} state={state}>"


class _Owner:
    """Moves the futures of files: they end with the tasks that write them."""

    def cancel(self, future: AppFuture[Any]) -> bool:
        """As that of the task: the file is all that is wanted of it."""
        return isinstance(future, DataFuture) and future.parent.cancel()

    def kill(self, future: AppFuture[Any]) -> bool:
        """As that of the task."""
        parent = getattr(future, "parent", None)
        return isinstance(parent, AppFuture) and parent.kill()

    def needs_of(self, future: AppFuture[Any]) -> list[Future[Any]]:
        """The task."""
        return [future.parent] if isinstance(future, DataFuture) else []

    def stop(self, future: AppFuture[Any]) -> bool:
        """As that of the task."""
        parent = getattr(future, "parent", None)
        return isinstance(parent, AppFuture) and parent.stop()

    def is_running(self, future: AppFuture[Any]) -> bool:
        """As the task."""
        return isinstance(future, DataFuture) and future.parent.running()

    def failure_seen(self, future: AppFuture[Any]) -> None:
        """The task's failure has been seen with it."""

    def name_of(self, future: AppFuture[Any]) -> str:
        """Its file."""
        return shown_url(future.file_obj.url) if isinstance(future, DataFuture) else "a file"

    def pump(self, future: AppFuture[Any], deadline: float | None) -> bool:
        """Others bring the task's result."""
        return False
