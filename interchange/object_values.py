"""Objects that were put, opened where a task needs them: a Ref in a task's arguments becomes its value here.

The memory of an object is mapped read-only, and large buffers in it, arrays above all, are views of it: nothing is
copied, and who writes to them gets an error, and does not change what others see. What is around the buffers is built
anew for each task.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable
from pickle import loads
from struct import Struct
from typing import Any

from parsl_pool.errors import ObjectUnavailable
from parsl_pool.interchange import serialize, shared_memory, wire
from parsl_pool.interchange.object_records import Object, WantObject

_OBJECT = wire.KIND[Object]
_IMMUTABLE = (bytes, str)  # opening one copies all of it, and nobody can change it: one for all tasks of a worker
_COUNT, _SIZE = Struct("<I"), Struct("<Q")
_ELSEWHERE = (
    "it is known to its own pool alone, and to the tasks that get it as an argument: pass the value itself elsewhere"
)

handle_of: Callable[[str], Any] = lambda key: None  # noqa: E731  # replaced where the client's side is loaded
"""The Ref of that key, in the process that has put the object; None in all others."""

_lock = threading.Lock()  # guards the asking: threads of a task may ask at the same time
_views: dict[str, memoryview] = {}
_values: dict[str, Any] = {}


def object_of__main__(text: str, payload: bytes = b"") -> Any:
    """The value of a Ref, from the Ref's pickle. payload: all of it, if it is small.

    Its name stands in that pickle. What is to be sent is searched for `__main__` anyway, so that a Ref among the
    arguments of a task is found without a further search; see `serialize.names_object`.
    """
    key = text.rpartition(":")[2]
    handle = handle_of(key)
    if handle is not None:
        return handle
    if payload:
        return load(memoryview(payload))
    if key in _values:
        return _values[key]
    if "." not in key:  # of a Ref that was freed
        raise ObjectUnavailable(key, "the Ref had been let go of when it was pickled")
    with _lock:
        view = _views.get(key)
        if view is None:
            view = _views[key] = _fetched(key)
    value = load(view)
    if type(value) in _IMMUTABLE:
        _values[key] = value
    return value


def load(view: memoryview) -> Any:
    """The object in a payload, whose large buffers stay where they are. Raises whatever unpickling raises."""
    if view[0] != 0x42:  # B
        return loads(view)
    view = view.toreadonly()
    (count,) = _COUNT.unpack_from(view, 1)
    sizes = [_SIZE.unpack_from(view, 5 + 8 * i)[0] for i in range(count + 1)]
    start = position = 5 + 8 * (count + 1)
    position += sizes[0]
    buffers = []
    for size in sizes[1:]:
        position += serialize.padding_at(position)
        buffers.append(view[position : position + size])
        position += size
    return loads(view[start : start + sizes[0]], buffers=buffers)


def drop(keys: list[str]) -> None:
    """Nobody will name these again. Memory that a value still uses goes with that."""
    for key in keys:
        _views.pop(key, None)
        _values.pop(key, None)


def map_object(fd: int) -> memoryview:
    """The memory of an object; the descriptor is closed."""
    try:
        return memoryview(shared_memory.map_readonly(fd))
    finally:
        os.close(fd)


def _fetched(key: str) -> memoryview:
    """The memory of an object, from the manager."""
    module = sys.modules.get("parsl_pool.interchange.worker")
    worker = getattr(module, "here", None)
    if worker is None:
        raise ObjectUnavailable(key, _ELSEWHERE)
    worker.announce()  # others may wait for what is finished
    worker.connection.send(wire.frame(WantObject(key, 0)))
    while True:
        kind, body, descriptors = worker.connection.next()
        if kind != _OBJECT:
            worker.put_off(kind, body, descriptors)
            continue
        record = wire.decode(kind, body)
        assert isinstance(record, Object)
        if record.key != key:
            for fd in descriptors:  # an answer to a thread that is no more
                os.close(fd)
        elif descriptors:
            return map_object(descriptors[0])
        else:
            raise ObjectUnavailable(key, record.reason)
