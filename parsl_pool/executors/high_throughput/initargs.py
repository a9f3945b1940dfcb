"""The initializer and its arguments, for the workers.

Locks and queues of `multiprocessing` may be among them. Those pickle only while a process is being started; so
one is pretended to be, which collects the descriptors they need, and passes them to the workers.
"""

from __future__ import annotations

import io
import os
import pickle
import stat
from collections import ChainMap
from collections.abc import Callable
from multiprocessing import context
from multiprocessing.reduction import ForkingPickler
from multiprocessing.synchronize import SemLock
from typing import Any

from parsl_pool import portable
from parsl_pool.errors import ConfigurationError, SerializationError, described
from parsl_pool.interchange import inherited, serialize

_ADVICE = (
    "a multiprocessing lock or queue can be shared with the workers only if it comes from a spawn or forkserver "
    'context (multiprocessing.get_context("spawn").Lock()), or from a multiprocessing.Manager()'
)


class _PretendedStart:
    """What multiprocessing takes for the process that is being started."""

    def __init__(self) -> None:
        self.descriptors: list[int] = []

    def duplicate_for_child(self, fd: int) -> int:
        """Collect a descriptor; the number that stands for it."""
        self.descriptors.append(os.dup(fd))
        return len(self.descriptors) - 1

    def DupFd(self, position: int) -> inherited.InheritedDescriptor:
        """What goes into the pickle."""
        return inherited.InheritedDescriptor(position)


def dump_for(
    manager_inside: bool, initializer: Callable[..., object], initargs: tuple[Any, ...]
) -> tuple[bytes, list[int]]:  # fmt: skip
    """As dump_initializer, for workers of a manager inside the interchange, or apart.

    Raises:
        ConfigurationError: those apart can't get the descriptors, of this kind or on this system.
    """
    data, descriptors = dump_initializer(initializer, initargs)
    if descriptors and not manager_inside:
        has_socket = any(stat.S_ISSOCK(os.fstat(fd).st_mode) for fd in descriptors)
        if has_socket or not portable.has_proc():
            _close(descriptors)
            what = (
                "a Pipe() of both directions" if has_socket else "on this system a multiprocessing queue or pipe"
            )
            raise ConfigurationError(
                f"{what} among the initializer's arguments can only be shared with manager_inside=True; use a "
                "Pipe(duplex=False), or take a queue from a multiprocessing.Manager()"
            )
    return data, descriptors


def dump_initializer(initializer: Callable[..., object], initargs: tuple[Any, ...]) -> tuple[bytes, list[int]]:
    """The bytes for Settings, and the descriptors that multiprocessing objects among the arguments need.

    Raises:
        SerializationError: one of them can't be pickled.
    """
    whole = (initializer, initargs)
    try:
        data = serialize.join(serialize.dump_value(whole, "the initializer"))
        if b"__main__" in data:
            data = serialize.dump_by_value(whole, "the initializer")
        if len(data) > serialize.MAX_PAYLOAD:
            raise serialize.too_large("the initializer with its arguments", len(data))
        return data, []
    except SerializationError as problem:
        if not _may_be_shared(problem):
            raise _named(problem) from problem.__cause__
    start = _PretendedStart()
    context.set_spawning_popen(start)  # type: ignore[arg-type]  # it has what is asked of it
    try:
        data = _dump(whole)
    except Exception as problem:  # told with what to do about it
        _close(start.descriptors)
        raise SerializationError("the initializer's arguments", "", f"{described(problem)}: {_ADVICE}") from problem
    finally:
        context.set_spawning_popen(None)
    _check(data, start.descriptors)
    return data, start.descriptors


def _named(problem: SerializationError) -> SerializationError:
    """The same error, in words of the arguments that the user gave."""
    name = {"[0]": "initializer", "[1]": "initargs"}.get(problem.path[:3])
    return problem if name is None else SerializationError(name, problem.path[3:], problem.reason)


def _reducers() -> dict[Any, Any]:
    """How multiprocessing pickles connections."""
    reducers: dict[Any, Any] = ForkingPickler._extra_reducers  # type: ignore[attr-defined]  # private
    return reducers


def _may_be_shared(problem: SerializationError) -> bool:
    text = str(problem)
    if "should only be shared" in text or "objects" in text or "SemLock" in text:
        return True
    return "_semlock" in problem.path or "._wrapper._state" in problem.path  # a lock; the memory of a Value or an Array


def _dump(whole: object) -> bytes:
    from parsl_pool.interchange import by_value  # on first need

    class Pickler(by_value.Pickler):
        dispatch_table = ChainMap(_reducers(), by_value.Pickler.dispatch_table)

        def reducer_override(self, obj: Any) -> Any:
            _refuse_nameless(obj)
            return super().reducer_override(obj)

    file = io.BytesIO()
    Pickler(file, 5).dump(whole)
    return file.getvalue()


def _refuse_nameless(obj: object) -> None:
    """A lock of a fork context has no name by which others could open it.

    Python 3.10 pickles it all the same. What that makes when it is opened, here or there, shares the lock's address,
    and frees it at its end: the next use of the lock is a segmentation fault.
    """
    if isinstance(obj, SemLock) and obj._semlock.name is None:  # type: ignore[attr-defined]  # private
        raise RuntimeError(f"a {type(obj).__name__} of a fork context can only be shared with a fork of this process")


def _check(data: bytes, descriptors: list[int]) -> None:
    """Open it once here: what can't be opened is told now, and not by each worker."""
    if b"multiprocessing.heap" in data:
        return  # it would keep a descriptor of each Value's memory open, here, for good
    inherited.provide(descriptors)
    try:
        pickle.loads(data)
    except Exception as problem:  # told with what to do about it
        _close(descriptors)
        raise SerializationError("the initializer's arguments", "", f"{described(problem)}: {_ADVICE}") from problem
    finally:
        inherited.provide([])


def _close(descriptors: list[int]) -> None:
    for fd in descriptors:
        os.close(fd)
