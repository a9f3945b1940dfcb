"""Join apps: what they return, and what becomes of it."""

from __future__ import annotations

from concurrent.futures import Future
from typing import Any, Protocol

from parsl_pool.dataflow.record import FlowRecord
from parsl_pool.dataflow.traverse import futures_in, with_results
from parsl_pool.errors import shown
from parsl_pool.futures import AppFuture, Value
from parsl_pool.interchange import shell


class Joins(Protocol):
    """A flow, as far as joins go."""

    def joined(self, future: AppFuture[Any], value: Any) -> None: ...

    def name_of(self, future: AppFuture[Any]) -> str: ...


_CONTAINERS = (list, tuple, set, frozenset, dict)


def joined_futures(value: Any, name: str) -> list[Future[Any]]:
    """The futures that a join app has returned.

    Raises:
        TypeError: it has returned none.
    """
    futures = futures_in(value)
    if not futures and not (isinstance(value, _CONTAINERS) and not value):
        raise TypeError(
            f"the join app {name} must return a future, or a container with futures in it, and returned {shown(value)}"
        )
    return futures


def joined(value: Any) -> object:
    """The outcome of a task that waited for these futures: their values in their places, opened when asked for."""
    if isinstance(value, AppFuture):
        return value._data
    return Value(value.result()) if isinstance(value, Future) else Joined(value)


def check_files(record: FlowRecord) -> None:
    """Raise MissingOutputs if files of a join app are not there; those elsewhere are seen to by who brings them."""
    files = [output.file_obj for output in record.outputs]
    shell.check_outputs(record.label, [file for file in files if file.scheme == "file"])


class Joined:
    """A nest of futures which all have a value."""

    __slots__ = ("_nest",)
    failed = False

    def __init__(self, nest: Any) -> None:
        self._nest = nest

    def open(self) -> Any:
        """The same nest of values."""
        return with_results(self._nest)


class Joiner:
    """Where the kernel reports that joined futures are done."""

    wants_payloads = False

    def __init__(self, flow: Joins) -> None:
        self._flow = flow

    def launch(self, future: AppFuture[Any], arguments: Any, results: list[Any]) -> None:
        """They have values."""
        self._flow.joined(future, arguments)

    def name_of(self, future: AppFuture[Any]) -> str:
        """As the flow."""
        return self._flow.name_of(future)
