"""What a try can come to, as a future keeps it until somebody asks."""

from __future__ import annotations

import os
import pickle
from collections.abc import Callable, Sequence
from concurrent.futures.process import _RemoteTraceback  # CPython's tests ask for it
from time import time
from typing import Any

from parsl_pool.dataflow.failures import Known as Known
from parsl_pool.errors import (
    AppTimeout,
    DeserializationError,
    InvalidResourceSpecification,
    PlaceLost,
    RemoteError,
    WorkerKilled,
    WorkerLost,
    bounded,
    described,
)
from parsl_pool.executors.high_throughput.warm_memory import WarmMemory
from parsl_pool.futures.states import Attempt
from parsl_pool.interchange import envelope, serialize, wire

WITH_FACTS = (wire.LOST, wire.KILLED, wire.TIMED_OUT, wire.REFUSED)
"""Statuses of tries whose end others tell: in Facts."""


def open_value(data: bytes | memoryview) -> Any:
    """The value in a result's payload.

    Raises:
        DeserializationError: it can't be rebuilt here.
    """
    return _opened(_open, data)


def _open(data: bytes | memoryview) -> Any:
    if data[0] == 0x80:
        return pickle.loads(data)
    if data[0] == 0x50:  # P
        return open_chunk(data)
    return serialize.load_value(data)


def _opened(load: Callable[[Any], Any], source: Any) -> Any:
    try:
        return load(source)
    except KeyboardInterrupt:
        raise
    except BaseException as problem:  # user code that unpickles; SystemExit must not end the caller
        raise DeserializationError(
            f"the result can't be rebuilt in this process: {described(problem)}"
        ) from problem


class SharedValue:
    """A large result: its payload lies in memory shared with nobody any more."""

    __slots__ = ("_fd", "_home", "_size", "_view")
    failed = False
    count = 0

    def __init__(self, fd: int, size: int, home: WarmMemory, is_kept: bool = False) -> None:
        """Takes the descriptor over. is_kept: it will be asked for."""
        SharedValue.count += 1
        self._fd, self._size, self._home = fd, size, home
        self._view: memoryview | None = None
        if not is_kept and (SharedValue.count > _DESCRIPTORS or not serialize.is_plain(fd)):
            self._fd = -1
            self._view = serialize.from_shared_memory(fd)

    @property
    def view(self) -> memoryview:
        """The payload."""
        if self._view is None:
            self._view = serialize.map_payload(self._fd)
        return self._view

    def open(self) -> Any:
        """The value; large buffers in it are parts of that memory."""
        if self._view is None:
            return _opened(serialize.load_plain, self._fd)
        return open_value(self._view)

    def descriptor(self) -> int:
        """The memory's, or -1 if that is closed; the caller's from now on."""
        view = self.view  # for whoever opens this still
        fd, self._fd = self._fd, -1
        return fd if view else -1

    def __del__(self) -> None:
        # Nobody can be reading from the descriptor: whoever does has a reference.
        SharedValue.count -= 1
        if self._fd < 0:
            return
        if self._view is None:
            self._home.give_back(self._fd, self._size, of_result=True)
        else:
            os.close(self._fd)


_DESCRIPTORS = 64  # results that may keep theirs until they are opened; beyond, the memory is mapped at once


class Failed:
    """A try that did not return: the status, and what came with it."""

    __slots__ = ("_ended", "data", "describe", "status")
    failed = True

    def __init__(self, status: int, data: bytes, describe: Callable[[], dict[str, str]]) -> None:
        self.status, self.data = status, data
        self.describe = describe  # facts about the task, for the text of a WorkerLost
        self._ended = time()

    def open(self) -> Any:
        """Raises the error."""
        raise self.error()

    def summary(self) -> str:
        """The error in words, without opening it: that would run the user's code."""
        if self.status in WITH_FACTS:
            return str(self.error())
        name, text, _ = envelope.summary_of_exception(self.data)
        return f"{name}: {bounded(text, 2000)}"

    @property
    def attempt(self) -> Attempt | None:
        """The try, as the first of its task; None: that can't be read."""
        try:
            return self._attempt()
        except Exception:  # from a worker whose memory is damaged; opening the outcome tells
            return None

    def _attempt(self) -> Attempt:
        if self.status in WITH_FACTS:
            facts = facts_in(self.data)
            worker = f"process {facts['pid']}" if "pid" in facts else ""
            return Attempt(0, facts.get("host", ""), 0.0, self._ended, _first_line(self.summary()), worker)
        name, text, place = envelope.summary_of_exception(self.data)
        host, pid, began, ended = place or ("", 0, 0.0, self._ended)
        return Attempt(0, host, began, ended, _first_line(f"{name}: {text}"), f"process {pid}" if pid else "")

    def error(self) -> BaseException:
        """The error as the user sees it."""
        if self.status in WITH_FACTS:
            return _place_error(self.status, {**self.describe(), **facts_in(self.data)})
        try:
            error = envelope.load_exception(self.data, _remote_traceback)
        except Exception as problem:  # an envelope that can't be read at all
            return DeserializationError(f"the task's error can't be read: {described(problem)}")
        if self.status == wire.UNREADABLE:
            text = str(getattr(error.__cause__, "tb", ""))
            told = DeserializationError(
                f"the task could not be rebuilt in the worker: {described(error)}", text
            )
            told.__cause__ = error
            return told
        return error


def _first_line(text: str) -> str:
    return text.split("\n", 1)[0][:200]


def _remote_traceback(text: str) -> BaseException:
    return _RemoteTraceback(f'\n"""\n{text}"""')  # type: ignore[arg-type]  # typeshed is wrong: it is a text


def facts_in(data: bytes) -> dict[str, str]:
    """What is known about the end of a worker."""
    record = wire.decode(wire.KIND[wire.Facts], data)
    assert isinstance(record, wire.Facts)
    return dict(zip(record.names, record.values))


def _place_error(status: int, facts: dict[str, str]) -> BaseException:
    reason = facts.pop("reason", "")
    facts.pop("cause", None)
    if status == wire.REFUSED:
        return InvalidResourceSpecification(facts.get("executor", ""), f"task {facts.get('task', '')}: {reason}")
    if status == wire.TIMED_OUT:
        return AppTimeout(f"task {facts.get('task', '')} {reason or 'ran longer than its walltime'}")
    return (WorkerKilled if status == wire.KILLED else WorkerLost)(dict(facts), reason)


def with_places(error: PlaceLost, facts: dict[str, str], tries: Sequence[Attempt], is_last: bool) -> PlaceLost:
    """The same error, which names the task, and all the places that were lost while it was running there.

    facts: about the task. is_last: it could have been tried again, and is not.
    """
    places = [attempt.host or "?" for attempt in tries if not attempt.worker]  # else its worker was lost alone
    reason = error.reason
    if len(places) > 1:
        reason += f"; task {facts['task']} was running in {len(places)} places that were lost ({', '.join(places)}), "
        reason += "perhaps it is what ends them"
        reason += ", since no other was in all of them; so it is not tried again" if is_last else ""
    return type(error)({**error.facts, **facts}, reason)


class PartialChunk:
    """A chunk that broke off: values up to there, and the error."""

    __slots__ = ("error", "values")

    def __init__(self, values: list[Any], error: BaseException) -> None:
        self.values, self.error = values, error


def open_chunk(payload: bytes | memoryview) -> PartialChunk:
    """From a P payload."""
    size = int.from_bytes(payload[1:9], "little")
    values = open_value(payload[9 : 9 + size])
    try:
        error = envelope.load_exception(payload[9 + size :], _remote_traceback)
    except Exception as problem:  # an envelope that can't be read at all
        error = RemoteError(type(problem).__name__, described(problem))
    return PartialChunk(values, error)
