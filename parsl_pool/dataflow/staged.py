"""What a flow, and executors, ask of whoever brings files: see `parsl_pool.staging`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Any, Protocol

from parsl_pool.dataflow.call import Call
from parsl_pool.dataflow.flow_task import FlowTask
from parsl_pool.dataflow.traverse import things_in, with_replaced
from parsl_pool.files import File
from parsl_pool.futures import AppFuture
from parsl_pool.futures.data_future import DataFuture

FILES = (File, DataFuture)
"""What is a file among the arguments of a task."""

STAGING_INHIBIT = "_parsl_staging_inhibit"
"""A keyword by which a call says that it brings files itself: its own are left alone."""


class FilesInArguments(Exception):
    """Raised when a call is prepared: there are files among its arguments that have to be brought.

    Attributes:
        files: all Files and DataFutures that are there.
    """

    def __init__(self, files: Sequence[Any]) -> None:
        super().__init__(files)
        self.files = files


class Instead:
    """What takes the places of files among the arguments of a call: futures of them, or Files that say where they are.

    Args:
        made: for each file, what takes its place; itself, if it stays.
    """

    def __init__(self, made: Sequence[tuple[Any, Any]]) -> None:
        self._made = made  # it keeps them, so that no other object gets one of their ids
        self._by_id = {id(thing): replacement for thing, replacement in made}
        others = [(thing, replacement) for thing, replacement in made if replacement is not thing]
        # An object may make up its File anew each time that it is pickled.
        self._by_url = {thing.url: replacement for thing, replacement in others if isinstance(thing, File)}
        self.has_futures = any(isinstance(replacement, Future) for _, replacement in made)

    def of(self, thing: Any) -> Any:
        """What stands where the thing stood."""
        replacement = self._by_id.get(id(thing))
        if replacement is None and isinstance(thing, File):
            replacement = self._by_url.get(thing.url)
        return thing if replacement is None else replacement


class Stager(Protocol):
    """Brings the files of calls."""

    def outputs(self, task: FlowTask, call: Call) -> tuple[DataFuture, ...]:
        """The futures of the files that the task writes. Raises StagingError."""

    def inputs(
        self, task: FlowTask, fn: Callable[..., Any], files: Sequence[Any]
    ) -> tuple[Callable[..., Any], Instead]:
        """What is launched in place of the function, and what takes the places of these among its arguments, now that
        they are on their way. Raises StagingError."""


class NoStager:
    """Leaves files where they are."""

    def outputs(self, task: FlowTask, call: Call) -> tuple[DataFuture, ...]:
        """They are there when the task is done."""
        return written_by(task.future, call)

    def inputs(
        self, task: FlowTask, fn: Callable[..., Any], files: Sequence[Any]
    ) -> tuple[Callable[..., Any], Instead]:
        """They are there."""
        return fn, Instead(())


def written_by(future: AppFuture[Any], call: Call) -> tuple[DataFuture, ...]:
    """The futures of the files of a call that writes them where they are to be, or has done so."""
    future._record.stdout, future._record.stderr = call.stdout, call.stderr
    return tuple([DataFuture(future, file) for file in call.outputs])


def prepared(
    stager: Stager, task: FlowTask, fn: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> Any:
    """The call as its executor launches it. Raises StagingError, SerializationError."""
    try:
        return task.backend.prepare(fn, args, kwargs)
    except FilesInArguments as found:
        files = found.files  # and no more of it, so that what goes wrong below has no context
    fn, instead = stager.inputs(task, fn, files)
    return task.backend.prepare_staged(fn, args, kwargs, instead)


def with_files_brought(
    stager: Stager, task: FlowTask, fn: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[Callable[..., Any], tuple[Any, ...], dict[str, Any]]:
    """The call as objects, for a dependency resolver: with what takes the files' places. Raises StagingError."""
    fn, instead = stager.inputs(task, fn, things_in((args, kwargs), FILES))
    args, kwargs = with_replaced((args, kwargs), FILES, instead.of)
    return fn, args, kwargs
