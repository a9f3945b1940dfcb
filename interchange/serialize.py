"""Objects to bytes and back: payloads of tasks, of functions and of results.

The first byte of a payload tells its form (T is in resumed.py):

    0x80  a pickle (that is how pickles of protocol 2 and later begin)
    B     a pickle with its large buffers beside it (protocol 5, out of band)
    M     another payload, in the shared memory whose descriptor travels beside the frame; u64 size.
          Beside a task's there may be a second descriptor: memory that the worker may use for a large result
    C     a chunk of calls: a pickle of a list of argument tuples (for one function)
    D     arguments in which futures were found: their results travel along as payloads
    P     results of a chunk that broke off: a pickle of the list so far, and the envelope of what stopped it

A task's pickle is a tuple of positional arguments, or a list [args, kwargs] if there are keywords.
"""

from __future__ import annotations

import io
import os
import pickle
from collections.abc import Callable, Sequence
from pickle import PickleBuffer, dumps, loads
from struct import Struct
from typing import Any

from parsl_pool import portable
from parsl_pool.errors import SerializationError
from parsl_pool.interchange import shared_memory

Payload = bytes | memoryview

LARGE = 1 << 16
"""From this size on a payload goes through shared memory on one host, and buffers leave the pickle."""

MAX_PAYLOAD = (1 << 31) - (1 << 16)
"""Bytes of a payload that still fits into a message, with all that is said about it there."""

_U32 = Struct("<I")
_U64 = Struct("<Q")
_ALIGN = 64  # arrays in shared memory begin on a cache line

_FILE = b"file_of__main__"  # see parsl_pool/files.py
_OBJECT = b"object_of__main__"  # see object_values.py
_PROTO, _FRAME = 0x80, 0x95  # opcodes: what pickle writes begins with one of them, unless it is a few bytes

# Their pickles hold no buffers and no references by name: the cheapest way is good.
PLAIN = frozenset({int, float, bool, str, type(None), complex})


# ---- writing


class _Sink(list[Any]):
    """Takes what a pickler writes. Bytes and strings of 64 kB and more come as they are, uncopied, one by one."""

    write = list.append

    def __init__(self) -> None:
        self.buffers: list[PickleBuffer] = []

    def keep_in_band(self, buffer: PickleBuffer) -> bool:
        """What pickle is to do with a buffer; those that are to stay outside are remembered."""
        return keep_in_band(buffer, self.buffers)


_free: list[tuple[_Sink, pickle.Pickler]] = []  # making a pickler costs three times what a small pickle does


def dump_parts(value: object) -> tuple[bytes | list[Any], list[PickleBuffer]]:
    """A pickle, as a list of parts if it is large, and the buffers beside it. Raises whatever pickling raises."""
    try:
        sink, pickler = _free.pop()
    except IndexError:
        sink = _Sink()
        pickler = pickle.Pickler(sink, 5, buffer_callback=sink.keep_in_band)
    pickler.dump(value)  # if it raises, both are dropped
    if len(sink) == 1 and not sink.buffers:
        data: bytes = sink.pop()
        if len(data) < LARGE:
            pickler.clear_memo()
            _free.append((sink, pickler))  # not after a large one: its memo would keep that size
        return data, []
    return [part if type(part) is bytes else bytes(part) for part in sink], sink.buffers


def names_main(data: bytes | list[Any]) -> bool:
    """True if a pickle refers to something in `__main__` by name, or just might.

    Names stand in frames. A part that is neither short nor a frame is the user's own bytes: what they say does not
    matter, and looking costs as much as copying them.
    """
    if isinstance(data, bytes):
        return b"__main__" in data
    return any(b"__main__" in part for part in data if _has_names(part))


def _has_names(part: Any) -> bool:
    return len(part) < LARGE or part[0] in (_PROTO, _FRAME)


def names_file(data: bytes | list[Any]) -> bool:
    """True if there is a `File` in a pickle, or just might be. Where it is, `names_main` is true as well."""
    return any(_FILE in part for part in parts_with_names(data))


def names_object(data: bytes | list[Any]) -> bool:
    """True if there is a `Ref` in a pickle, or just might be. Where it is, `names_main` is true as well."""
    return any(_OBJECT in part for part in parts_with_names(data))


def parts_with_names(data: bytes | list[Any]) -> list[bytes]:
    """The parts of a pickle without large bytes of the user's."""
    if isinstance(data, bytes):
        return [data]
    return [part for part in data if type(part) is bytes and part and _has_names(part)]


def names_main_but_for_ours(data: bytes | list[Any]) -> bool:
    """`names_main`, for a pickle that `names_file` or `names_object`."""
    if isinstance(data, bytes):
        return names_main(_without_ours(data))
    return names_main([_without_ours(part) if _has_names(part) else part for part in data])


def _without_ours(data: bytes) -> bytes:
    return data.replace(_FILE, b"").replace(_OBJECT, b"")


def dump_value(value: object, name: str) -> bytes | list[Any]:
    """A value as a payload, or as a list of parts (see `join` and `to_shared_memory`) when it is large.

    pickle is tried first, cloudpickle (by value, for what can't be imported) when it fails.

    Raises:
        SerializationError: neither can; it says which part of the value is to blame.
    """
    if type(value) in PLAIN:
        return dumps(value, 5)
    data: bytes | list[Any]
    try:
        data, buffers = dump_parts(value)
    except BaseException as problem:  # whatever a __reduce__ raises; the next try, or its error, tells the user
        pass_on(problem, lambda: dumps(value, 5))
        buffers = []
        data = dump_by_value(value, name, buffers)
    return with_buffers(data, buffers) if buffers else data


def dump_by_value(value: object, name: str, buffers: list[PickleBuffer] | None = None) -> bytes:
    """A pickle by cloudpickle: functions and classes that can't be imported go by value.

    Raises:
        SerializationError: it can't be pickled.
    """
    from parsl_pool.interchange import by_value  # on first need: 20 ms that most workers never spend

    try:
        if buffers is None:
            return by_value.dumps(value)
        return by_value.dumps(value, lambda b: keep_in_band(b, buffers))
    except BaseException as problem:  # whatever user code raises while it is pickled
        pass_on(problem, lambda: by_value.dumps(value))
        from parsl_pool.interchange.diagnose import unpicklable_part  # only when something is wrong

        path, reason = unpicklable_part(value, problem)
        raise SerializationError(name, path, reason) from problem


def pass_on(problem: BaseException, again: Callable[[], object]) -> None:
    """Raise it again if it came from a signal's handler that ran while something was pickled, and not from that.

    A SystemExit of a handler's must get through, one of a `__reduce__` must not. What can't be pickled can't be pickled
    twice: `again` tells. KeyboardInterrupt gets through always, and an Exception never.
    """
    if isinstance(problem, Exception):
        return
    if not isinstance(problem, KeyboardInterrupt):
        try:
            again()
        except type(problem):
            return
        except Exception:  # another one: so the first was no part of it; the caller's next try tells
            pass
    raise problem


def too_large(name: str, size: int) -> SerializationError:
    """The error about a payload that has to go through a socket, and can't."""
    reason = f"its pickle has {size:,} bytes, and a message can take {MAX_PAYLOAD:,}; pass the path of a file instead"
    return SerializationError(name, "", reason)


def keep_in_band(buffer: PickleBuffer, buffers: list[PickleBuffer]) -> bool:
    """What pickle is to do with a buffer. Those that are to stay outside are added to the list."""
    try:
        if buffer.raw().nbytes < LARGE:
            return True
    except BufferError:  # not contiguous: pickle copies it
        return True
    buffers.append(buffer)
    return False


def with_buffers(data: bytes | list[Any], buffers: Sequence[PickleBuffer]) -> list[Any]:
    """B | u32 count | u64 size of the pickle | u64 sizes of the buffers | pickle | padding, buffer, ..."""
    views = [buffer.raw() for buffer in buffers]
    size = size_of(data)
    head = b"B" + _U32.pack(len(views)) + _U64.pack(size) + b"".join(_U64.pack(v.nbytes) for v in views)
    parts: list[Any] = [head, data] if isinstance(data, bytes) else [head, *data]
    position = len(head) + size
    for view in views:
        padding = -position % _ALIGN
        parts += (bytes(padding), view)
        position += padding + view.nbytes
    return parts


def padding_at(position: int) -> int:
    """How many bytes stand before a buffer in a payload, after so many others."""
    return -position % _ALIGN


def size_of(payload: bytes | list[Any]) -> int:
    """Bytes of a payload, whole or in parts."""
    if isinstance(payload, bytes):
        return len(payload)
    return sum(part.nbytes if isinstance(part, memoryview) else len(part) for part in payload)


def first_byte(payload: bytes | list[Any]) -> int:
    """Which tells the form of a payload."""
    first: int = payload[0] if isinstance(payload, bytes) else payload[0][0]
    return first


def join(payload: bytes | list[Any]) -> bytes:
    """A payload in one piece."""
    return payload if isinstance(payload, bytes) else b"".join(payload)


def to_shared_memory(payload: bytes | list[Any], label: str) -> tuple[bytes, int]:
    """The payload written to new shared memory: the short payload that stands for it, and the descriptor.

    Raises:
        OSError: out of memory or descriptors; the caller sends it through the socket then.
    """
    size = size_of(payload)
    fd = shared_memory.create(0, label)
    try:
        write_all(fd, [payload] if type(payload) is bytes else payload)
    except OSError:
        os.close(fd)
        raise
    return stand_in(size), fd


def write_again(fd: int, payload: bytes | list[Any]) -> None:
    """Write the payload to shared memory that has held another one. Closes the descriptor if that fails."""
    try:
        os.ftruncate(fd, size_of(payload))
        os.lseek(fd, 0, os.SEEK_SET)
        write_all(fd, [payload] if isinstance(payload, bytes) else payload)
    except OSError:
        os.close(fd)
        raise


def stand_in(size: int) -> bytes:
    """The payload that says: the real one, of that size, is in the shared memory beside this."""
    return b"M" + _U64.pack(size)


def write_all(fd: int, parts: Sequence[Any]) -> None:
    """Write the parts one after the other: no page faults on our side, and no copy in between."""
    views = [memoryview(part).cast("B") for part in parts if len(part)]
    while views:
        written = os.writev(fd, views[:512])
        while views and written >= views[0].nbytes:
            written -= views.pop(0).nbytes
        if written:
            views[0] = views[0][written:]


def from_shared_memory(fd: int) -> memoryview:
    """The payload that a descriptor holds, copy-on-write; the descriptor is closed."""
    try:
        return map_payload(fd)
    finally:
        os.close(fd)


def map_payload(fd: int) -> memoryview:
    """The payload that a descriptor holds, copy-on-write."""
    return memoryview(shared_memory.map_private(fd))


class _Descriptor:
    """A file for an unpickler, which reads large bytes straight into the objects that it makes of them."""

    __slots__ = ("_fd", "_position")

    def __init__(self, fd: int) -> None:
        self._fd, self._position = fd, 0

    def read(self, size: int) -> bytes:
        data = os.pread(self._fd, size, self._position)
        self._position += len(data)
        return data

    def readinto(self, buffer: Any) -> int:
        if portable.has(os, "preadv"):
            size = os.preadv(self._fd, [buffer], self._position)
        else:  # copied once more
            data = os.pread(self._fd, len(buffer), self._position)
            size = len(data)
            buffer[:size] = data
        self._position += size
        return size

    def readline(self) -> bytes:
        raise pickle.UnpicklingError("not a pickle of ours")  # only protocols before 2 have lines


def is_plain(fd: int) -> bool:
    """True if the shared memory holds a pickle and nothing beside it: `load_plain` can read it."""
    return os.pread(fd, 1, 0) == b"\x80"


def load_plain(fd: int) -> Any:
    """The object in shared memory that `is_plain`; nothing of it refers to that memory. Half the price of mapping."""
    return pickle.Unpickler(_Descriptor(fd)).load()


def dump_chunk(calls: list[tuple[Any, ...]], name: str) -> bytes | list[Any]:
    """The payload of several calls of one function: C | u8 where the inner payload begins | ... | it.

    Raises:
        SerializationError: an argument can't be pickled.
    """
    inner = dump_value(calls, name)
    if type(inner) is bytes:
        return b"C\x02" + inner
    return [b"C" + bytes([_ALIGN]) + bytes(_ALIGN - 2), *inner]  # so that arrays stay on their cache lines


def dump_with_results(arguments: bytes, results: Sequence[Payload]) -> list[Any]:
    """D | u32 count | u32 size of the arguments' pickle | it | for each result: u64 size, [padding,] payload."""
    parts: list[Any] = [b"D" + _U32.pack(len(results)) + _U32.pack(len(arguments)), arguments]
    position = 9 + len(arguments)
    for result in results:
        size = len(result)
        padding = -(position + 8) % _ALIGN if size >= LARGE else 0
        parts += (_U64.pack(size) + bytes(padding), result)
        position += 8 + padding + size
    return parts


# ---- reading


def load_value(payload: Payload) -> Any:
    """The object in a payload (not M: see `from_shared_memory`). Raises whatever unpickling raises."""
    form = payload[0]
    if form == 0x80:
        return loads(payload)
    if form == 0x42:  # B
        return _load_with_buffers(memoryview(payload))
    raise pickle.UnpicklingError(f"unknown form of payload {form:#x}")


def _load_with_buffers(view: memoryview) -> Any:
    (count,) = _U32.unpack_from(view, 1)
    sizes = [_U64.unpack_from(view, 5 + 8 * i)[0] for i in range(count + 1)]
    position = 5 + 8 * (count + 1)
    data = view[position : position + sizes[0]]
    position += sizes[0]
    buffers = []
    for size in sizes[1:]:
        position += -position % _ALIGN
        piece = view[position : position + size]
        # What came inside a message is immutable bytes; arrays must be writable, as everywhere.
        buffers.append(bytearray(piece) if piece.readonly else piece)
        position += size
    return loads(data, buffers=buffers)


def load_arguments(payload: Payload) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Positional and keyword arguments of a task (not of a chunk). Raises whatever unpickling raises."""
    return as_call(_load_with_results(memoryview(payload)) if payload[0] == 0x44 else load_value(payload))


def load_shared_arguments(fd: int) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """As `load_arguments`, for a payload that `is_plain`; the descriptor is closed."""
    try:
        return as_call(load_plain(fd))
    finally:
        os.close(fd)


def as_call(arguments: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Positional and keyword arguments, of what is pickled of a task's."""
    if type(arguments) is tuple:
        return arguments, {}
    args, kwargs = arguments
    return args, kwargs


def load_chunk(payload: Payload) -> list[tuple[Any, ...]]:
    """The argument tuples of a chunk. Raises whatever unpickling raises."""
    calls: list[tuple[Any, ...]] = load_value(memoryview(payload)[payload[1] :])
    return calls


class _ArgumentUnpickler(pickle.Unpickler):
    """Opens arguments in which persistent ids stand for results of other tasks."""

    def __init__(self, data: Payload, results: Sequence[memoryview]) -> None:
        super().__init__(io.BytesIO(data))
        self._results = results
        self._opened: dict[int, Any] = {}

    def persistent_load(self, token: tuple[int, tuple[tuple[str, Any], ...]]) -> Any:
        """Result number token[0], and what the path token[1] leads to inside of it."""
        number, path = token
        if number not in self._opened:
            self._opened[number] = load_value(self._results[number])
        value = self._opened[number]
        for how, key in path:
            value = value[key] if how == "item" else getattr(value, key)
        return value


def _load_with_results(view: memoryview) -> Any:
    count, size = _U32.unpack_from(view, 1)[0], _U32.unpack_from(view, 5)[0]
    position = 9 + size
    results = []
    for _ in range(count):
        (length,) = _U64.unpack_from(view, position)
        position += 8
        if length >= LARGE:
            position += -position % _ALIGN
        results.append(view[position : position + length])
        position += length
    return _ArgumentUnpickler(view[9 : 9 + size], results).load()


# ---- functions

REUSE = b"R"  # an unpickled function may serve many tasks
ANEW = b"A"  # it has state: each task gets its own copy


def load_function(data: Payload) -> Any:
    """The callable in the bytes of a Function record, after its first byte."""
    return load_value(data)
