"""Objects that a pool has been given once, for many tasks: `pool.put(value)` returns a `Ref`.

    Ref, Ref, tasks under way --> Stored: one piece of shared memory --> managers' and workers' views of it

A `Stored` lives as long as anybody refers to it: Refs of the user's, tasks that were submitted and are not done, other
objects with a Ref inside. Python counts these references; when the last one is gone, every process that has the memory
is told to let go of it.
"""

from __future__ import annotations

import itertools
import os
import re
import threading
from collections.abc import Callable, Sequence
from typing import Any, Generic, TypeVar
from weakref import WeakSet, WeakValueDictionary

from parsl_pool.errors import ObjectUnavailable, SerializationError
from parsl_pool.interchange import object_values, serialize
from parsl_pool.interchange.object_records import Object

T = TypeVar("T")

_MARK = re.compile(rb"object_of__main__:([0-9a-f]{16}\.[0-9]+|freed|ended)")
_GONE = {"freed": "its Ref was freed", "ended": "its pool has been shut down"}
_ANOTHERS = "a Ref is of use in its own pool alone, and this one is another's: use ref.get(), or put it there, too"
_PART = 1 << 20

_known: WeakValueDictionary[str, Stored] = WeakValueDictionary()  # by key, of all pools of this process


class Stored:
    """One object: its payload in shared memory, or beside it if that is small. Let go of with the last reference."""

    __slots__ = (
        "__weakref__", "_digest", "_fd", "_holds", "_is_out", "_pid", "key", "owner", "payload", "size", "value",
    )  # fmt: skip

    def __init__(self, key: str, owner: Objects) -> None:
        self.key, self.owner = key, owner
        self.size = 0  # bytes of the payload
        self.payload = b""  # all of it, if it is small
        self.value: list[Any] = []  # the object itself, for threads
        self._fd = -1
        self._pid = os.getpid()
        self._digest = ""
        self._is_out = False  # others may have the memory
        self._holds: tuple[Stored, ...] = ()  # those whose Refs are inside

    def fill(self, value: Any) -> None:
        """Pickle the value, once.

        Raises:
            SerializationError: it can't be pickled.
            OSError: there is no memory, or no descriptor left.
        """
        payload, self._holds = _dumped(value, self.owner)
        self.size = serialize.size_of(payload)
        if self.size < serialize.LARGE:
            self.payload = serialize.join(payload)
        else:
            self._fd = serialize.to_shared_memory(payload, "object")[1]

    def take(self, outcome: Any) -> None:
        """Be the object in a result's payload. Raises OSError."""
        if type(outcome) is bytes and len(outcome) < serialize.LARGE:
            self.payload, self.size = outcome, len(outcome)
            return
        view = outcome if type(outcome) is bytes else outcome.view
        self.size = len(view)
        fd = -1 if type(outcome) is bytes else outcome.descriptor()
        self._fd = fd if fd >= 0 else serialize.to_shared_memory([view], "object")[1]

    def lend(self) -> int:
        """A descriptor of the memory, which is the caller's. Raises OSError."""
        self._is_out = True
        return os.dup(self._fd)

    def open(self) -> Any:
        """The value, for this process: the object itself, if that was kept; else one that can't be changed."""
        if self.value:
            return self.value[0]
        return object_values.load(self._view())

    def _view(self) -> memoryview:
        return memoryview(self.payload) if self.payload else object_values.map_object(os.dup(self._fd))

    @property
    def digest(self) -> str:
        """SHA-256 of the payload."""
        if not self._digest:
            from hashlib import sha256  # 3 ms, for the libraries behind it

            if not self.size:
                self.fill(self.value[0])
            digest = sha256()
            view = self._view()
            for start in range(0, len(view), _PART):
                digest.update(view[start : start + _PART])  # others run meanwhile
            self._digest = digest.hexdigest()
        return self._digest

    def __del__(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            if self._is_out and os.getpid() == self._pid:
                self.owner.dropped(self.key)


class Ref(Generic[T]):
    """A handle of an object that a pool holds: as an argument of a task it becomes the object. Made by `pool.put`.

    Refs of one pool are equal if what they stand for has the same bytes.
    """

    __slots__ = ("__weakref__", "_hash", "_stored", "_why")

    _stored: Stored | None
    _why: str
    _hash: int  # the same when it has been freed, for sets that it is in

    def __init__(self) -> None:
        raise TypeError("a Ref is made by pool.put(value)")

    def get(self) -> T:
        """The object. Arrays in it can't be written to: they are views of memory that all share.

        Raises:
            ObjectUnavailable: it was freed, or its pool has been shut down.
        """
        value: T = self.stored.open()
        return value

    @property
    def size(self) -> int:
        """Bytes of its pickle; 0 if it is not pickled, as for threads."""
        return self.stored.size

    @property
    def digest(self) -> str:
        """SHA-256 of its pickle, in hexadecimal digits. Computed when it is asked for, and remembered."""
        return self.stored.digest

    def free(self) -> None:
        """Let go of the object now. Tasks that were submitted with it still get it; this Ref is of no more use."""
        self._let_go("freed")

    def _let_go(self, why: str) -> None:
        """The same, or because the pool has "ended"."""
        self._stored, self._why = None, self._why or why

    @property
    def stored(self) -> Stored:
        """What it stands for. Raises ObjectUnavailable."""
        stored = self._stored
        if stored is None:
            raise ObjectUnavailable(self._why, _GONE[self._why])
        return stored

    def __eq__(self, other: object) -> bool:
        return self._stored is other._stored and self._stored is not None if isinstance(other, Ref) else NotImplemented

    def __hash__(self) -> int:
        return self._hash

    def __copy__(self) -> Ref[T]:
        return ref_of(self.stored)

    def __deepcopy__(self, memo: Any) -> Ref[T]:
        return ref_of(self.stored)

    def __reduce__(self) -> tuple[Any, ...]:
        stored = self._stored
        if stored is not None and not stored.size and stored.owner.is_sent:
            stored.fill(stored.value[0])  # it was put when there were only threads
        text = f"object_of__main__:{stored.key if stored is not None else self._why}"  # who sends it looks for that
        return object_values.object_of__main__, (text, stored.payload) if stored and stored.payload else (text,)

    def __repr__(self) -> str:
        stored = self._stored
        return f"<Ref: {_GONE[self._why]}>" if stored is None else f"<Ref of {stored.size:,} bytes>"


def ref_of(stored: Stored) -> Ref[Any]:
    """One more Ref of an object."""
    ref: Ref[Any] = Ref.__new__(Ref)
    ref._stored, ref._why, ref._hash = stored, "", hash(stored)
    stored.owner.refs[id(ref)] = ref
    return ref


class Objects:
    """The objects of one pool. Any thread."""

    are_there = False
    """True once any pool of this process has been given an object."""

    def __init__(self, backends: Sequence[Any]) -> None:
        """backends: the pool's executors; that list may grow."""
        Objects.are_there = True
        self._backends = backends
        self._token = os.urandom(8).hex()
        self._numbers = itertools.count(1)
        self._lock = threading.Lock()  # guards `_by_size`, for the moment of looking and adding
        self._by_size: dict[int, WeakSet[Stored]] = {}
        self.refs: WeakValueDictionary[int, Ref[Any]] = WeakValueDictionary()  # by id: those that are equal, too
        self.is_ended = False

    def serve(self) -> None:
        """Let the executors know, those that have been added, too."""
        for backend in self._backends:
            backend.objects = self

    @property
    def is_sent(self) -> bool:
        """Whether objects may go to other processes."""
        return any(backend.wants_payloads for backend in self._backends)

    @property
    def _is_kept(self) -> bool:
        """Whether they are used here, by threads."""
        return not all(backend.wants_payloads for backend in self._backends)

    def put(self, value: T) -> Ref[T]:
        """Take an object in. The same bytes as before are found by their digest, and share their memory.

        Raises:
            RuntimeError: after shutdown.
            SerializationError: it can't be pickled.
            OSError: there is no memory, or no descriptor left.
        """
        if self.is_ended:
            raise RuntimeError("cannot put objects after shutdown")
        stored = Stored(f"{self._token}.{next(self._numbers)}", self)
        if self.is_sent:
            stored.fill(value)
            stored = self._first_of(stored)
        if self._is_kept and not stored.value:
            stored.value.append(value)
        _known[stored.key] = stored
        return ref_of(stored)

    def keep(self, outcome: Any) -> Ref[Any]:
        """A Ref of a task's result, which is not opened: a payload, or a value of a thread's.

        Raises OSError: there is no memory, or no descriptor left.
        """
        stored = Stored(f"{self._token}.{next(self._numbers)}", self)
        if hasattr(outcome, "value"):
            stored.value.append(outcome.value)
            if self.is_sent:
                stored.fill(outcome.value)
        else:
            stored.take(outcome)
        _known[stored.key] = stored
        return ref_of(stored)

    def _first_of(self, stored: Stored) -> Stored:
        """An older object of the same bytes, or this one. Digests are only computed where sizes are equal."""
        with self._lock:
            alike = self._by_size.setdefault(stored.size, WeakSet())
            others = list(alike)
            alike.add(stored)
            if len(self._by_size) > 64:
                self._by_size = {size: some for size, some in self._by_size.items() if len(some)}
        for other in others:
            if other.digest == stored.digest:
                with self._lock:
                    alike.discard(stored)
                return other
        return stored

    def dropped(self, key: str) -> None:
        """The last reference to an object is gone; whoever has its memory is told."""
        for backend in self._backends:
            tell = getattr(backend, "object_dropped", None)
            if tell is not None:
                tell(key)

    def end(self) -> None:
        """The pool has ended: Refs are of no more use."""
        self.is_ended = True
        for weak in self.refs.valuerefs():  # a list of now: other threads may make one
            ref = weak()
            if ref is not None:
                ref._let_go("ended")


class Holding(bytes):
    """A payload, and the objects that its task will ask for: they stay as long as this does."""

    held: tuple[Stored, ...]


def holding(payload: bytes, held: tuple[Stored, ...]) -> bytes:
    """The payload, together with them; just the payload, if there are none."""
    if not held:
        return payload
    made = Holding(payload)
    made.held = held
    return made


def held_by(payload: Any) -> tuple[Stored, ...]:
    """What a payload that may be a Holding holds."""
    held: tuple[Stored, ...] = getattr(payload, "held", ())
    return held


def found_in(data: bytes | list[Any], owner: Objects | None, name: str) -> tuple[Stored, ...]:
    """The objects that a pickle names by their Refs.

    owner: those of the pool that is to send it; None: nothing was put there.

    Raises:
        SerializationError: one is another pool's, or was freed.
    """
    if not Objects.are_there or not serialize.names_object(data):
        return ()
    keys = {key.decode() for part in serialize.parts_with_names(data) for key in _MARK.findall(part)}
    held = []
    for key in keys:
        if key in _GONE:
            raise SerializationError(name, "", f"there is a Ref in it of which nothing is left: {_GONE[key]}")
        stored = _known.get(key)
        if stored is not None and stored.owner is not owner:
            raise SerializationError(name, "", _ANOTHERS)
        if stored is not None:
            held.append(stored)
    return tuple(held)


def named_in(result: Any) -> tuple[Stored, ...]:
    """The objects that a task's result names, which goes on to another task: it is a Ref, if it names any."""
    if not Objects.are_there or type(result) is not bytes or len(result) >= serialize.LARGE:
        return ()
    found = [_known.get(key.decode()) for key in _MARK.findall(result)]
    return tuple([stored for stored in found if stored is not None])


def opened(ref: Ref[Any], owner: Objects | None) -> Any:
    """What a thread's task gets for a Ref. Raises SerializationError: nothing, because it is of no use there."""
    try:
        stored = ref.stored
    except ObjectUnavailable as problem:
        raise SerializationError("an argument", "", str(problem)) from None
    if stored.owner is not owner:
        raise SerializationError("an argument", "", _ANOTHERS)
    return stored.open()


def known(key: str) -> Stored | None:
    """The object of that key; None if nobody refers to it any more."""
    return _known.get(key)


def answer(key: str, stored: Stored | None, owner: Objects | None) -> tuple[Object, list[int]]:
    """What an interchange is to be told that wants an object, and the descriptor beside that."""
    if stored is None or stored.owner is not owner:
        return Object(key, 0, "its last Ref is gone"), []
    try:
        return Object(key, stored.size, ""), [stored.lend()]
    except OSError as problem:
        return Object(key, 0, f"the client: {problem}"), []


def _dumped(value: Any, owner: Objects) -> tuple[bytes | list[Any], tuple[Stored, ...]]:
    data: bytes | list[Any]
    try:
        data, buffers = serialize.dump_parts(value)
        again = serialize.names_main(data) and serialize.names_main_but_for_ours(data)
    except BaseException as problem:  # told below, or overcome by pickling by value
        serialize.pass_on(problem, _again(value))
        again, buffers = True, []
    if again:
        buffers = []
        data = serialize.dump_by_value(value, "the object", buffers)
    held = found_in(data, owner, "the object")
    return serialize.with_buffers(data, buffers) if buffers else data, held


def _again(value: Any) -> Callable[[], object]:
    return lambda: serialize.dump_parts(value)


def _handle_of(key: str) -> Ref[Any] | None:
    stored = _known.get(key)
    return None if stored is None else ref_of(stored)


object_values.handle_of = _handle_of
