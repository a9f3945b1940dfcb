"""What a flow, and executors, ask of whoever brings files: see `parsl_pool.staging`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from parsl_pool.dataflow.call import Call
from parsl_pool.dataflow.flow_task import FlowTask
from parsl_pool.futures import AppFuture
from parsl_pool.futures.data_future import DataFuture


class FilesInArguments(Exception):
    """Raised when a call is prepared: there are files among its arguments that have to be brought."""


class Stager(Protocol):
    """Brings the files of calls."""

    def outputs(self, task: FlowTask, call: Call) -> tuple[DataFuture, ...]:
        """The futures of the files that the task writes. Raises StagingError."""

    def inputs(
        self, task: FlowTask, fn: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[Callable[..., Any], tuple[Any, ...], dict[str, Any]]:
        """The call as it is to be launched, when its files are on their way. Raises StagingError."""


class NoStager:
    """Leaves files where they are."""

    def outputs(self, task: FlowTask, call: Call) -> tuple[DataFuture, ...]:
        """They are there when the task is done."""
        return written_by(task.future, call)

    def inputs(
        self, task: FlowTask, fn: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[Callable[..., Any], tuple[Any, ...], dict[str, Any]]:
        """They are there."""
        return fn, args, kwargs


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
    except FilesInArguments:
        pass  # so that what goes wrong below has no context
    return task.backend.prepare_staged(*stager.inputs(task, fn, args, kwargs))
