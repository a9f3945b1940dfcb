"""Which task writes which file: two that write the same one at the same time are a mistake."""

from __future__ import annotations

import os
import threading
from collections.abc import Sequence
from concurrent.futures import Future
from functools import partial
from typing import Any

from parsl_pool.dataflow.flow_task import FlowTask
from parsl_pool.dataflow.traverse import futures_in
from parsl_pool.errors import StagingError
from parsl_pool.files import File
from parsl_pool.futures import AppFuture, has_failed
from parsl_pool.futures.data_future import DataFuture
from parsl_pool.staging.transfers.urls import shown


class _Writer:
    """A task that writes a file, until that has arrived."""

    __slots__ = ("arrives", "func", "future", "is_cached", "label", "task")

    def __init__(self, task: FlowTask) -> None:
        record = task.record
        self.future: AppFuture[Any] = task.future
        self.func, self.is_cached, self.label, self.task = record.func, record.options.cache, record.label, record.task
        self.arrives: Future[Any] = task.future

    @property
    def is_over(self) -> bool:
        """True if nothing more will be written. Asked, and not told: who waits for the file may be faster."""
        if self.future.done() and (self.future.cancelled() or self.future.has_failed()):
            return True
        return self.arrives.done()


class Written(DataFuture):
    """A file of a join app, which one of the apps that it calls writes: done when the join is, and that file is there.
    """

    def __init__(self, join: AppFuture[Any], file: File) -> None:
        self.writer: _Writer | None = None  # the last one that has begun
        super().__init__(join, file)

    def _written(self, fut: Future[Any]) -> None:
        if self.writer is None or (fut is self.parent and (fut.cancelled() or has_failed(fut))):
            super()._written(fut)
        else:
            self.writer.arrives.add_done_callback(super()._written)


class Writers:
    """The files that are being written. Safe for any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()  # guards what follows
        self._by_name: dict[str, _Writer] = {}
        self._awaited: dict[str, list[Written]] = {}  # those of joins, by the names of their files

    def of_join(self, join: AppFuture[Any], file: File) -> Written:
        """The future of a file that some task is to write while the join is under way."""
        name, future = name_of(file), Written(join, file)
        with self._lock:
            self._awaited.setdefault(name, []).append(future)
        join.add_done_callback(partial(self._join_ended, name, future))
        return future

    def _join_ended(self, name: str, future: Written, _: Future[Any]) -> None:
        with self._lock:
            left = [each for each in self._awaited.get(name, ()) if each is not future]
            if left:
                self._awaited[name] = left
            else:
                self._awaited.pop(name, None)

    def _enter(self, mine: dict[str, _Writer]) -> None:
        """They are being written. Call this under the lock."""
        self._by_name.update(mine)
        for name in mine.keys() & self._awaited.keys():
            for future in self._awaited[name]:
                future.writer = mine[name]

    def begin(self, task: FlowTask, files: Sequence[File]) -> None:
        """The task is to write these.

        Raises:
            StagingError: another one does that, and this one does not wait for it.
        """
        mine = {name_of(file): _Writer(task) for file in files}
        label = task.record.label
        if len(mine) < len(files):
            names = [name_of(file) for file in files]
            twice = next(file for place, file in enumerate(files) if names[place] in names[:place])
            raise StagingError(f"{label} would write {shown(twice.url)!r} twice: its outputs must be different files")
        with self._lock:
            others = [(name, self._by_name[name]) for name in mine if name in self._by_name]
            if not others:
                self._enter(mine)
        if others:
            for name, other in others:
                if not other.is_over and not _may_follow(task, other):
                    raise StagingError(
                        f"{shown(name)!r} is being written by task {other.task} ({other.label}), and {label} would "
                        "write it too: pass it what that one's outputs are, so that it waits, or name another file"
                    )
            with self._lock:
                self._enter(mine)
        task.future.add_done_callback(partial(self._ended, mine))

    def arrive_by(self, task: FlowTask, file: File, arrives: Future[Any]) -> None:
        """The file has arrived when this is done, and not with its task."""
        name = name_of(file)
        with self._lock:
            writer = self._by_name[name]
            writer.arrives = arrives
        arrives.add_done_callback(partial(self._ended, {name: writer}))

    def _ended(self, writers: dict[str, _Writer], _: Future[Any]) -> None:
        over = [(name, writer) for name, writer in writers.items() if writer.is_over]
        with self._lock:
            for name, writer in over:
                if self._by_name.get(name) is writer:
                    del self._by_name[name]

    def __len__(self) -> int:
        return len(self._by_name) + len(self._awaited)


def _may_follow(task: FlowTask, other: _Writer) -> bool:
    """True if the task comes after the other one, or is the same call, which is done once."""
    record = task.record
    if record.options.cache and other.is_cached and record.func is other.func:
        return True
    return _waits_for(futures_in((record.args, record.kwargs)), [other.future, other.arrives])


def name_of(file: File) -> str:
    """What the file is known by: its URL; a path however it is written."""
    return f"file:{os.path.abspath(file.path)}" if file.scheme == "file" else file.url


def _waits_for(futures: list[Future[Any]], wanted: list[Future[Any]]) -> bool:
    """Whether one of these is one of those, or waits for it, as far as can be seen from here."""
    seen: set[int] = set()
    todo = list(futures)
    while todo:
        future = todo.pop()
        if any(future is each for each in wanted):
            return True
        if id(future) not in seen and not future.done():
            seen.add(id(future))
            todo += _needs_of(future)
    return False


def _needs_of(future: Future[Any]) -> list[Future[Any]]:
    if isinstance(future, DataFuture):
        return [future.parent]
    if not isinstance(future, AppFuture):
        return []
    ask = getattr(future._owner, "needs_of", None)
    record = future._record
    return [*(ask(future) if ask is not None else ()), *getattr(record, "depends", ())]
