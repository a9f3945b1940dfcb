"""Objects that can't be pickled, each in its own way, with what the error is to say of it.

A place in it: the path from the object itself. Importable by workers, which make them as results.
"""

import ctypes
import functools
import os
import socket
import sys
import threading
import weakref
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple, NoReturn

LOCK = "cannot pickle '_thread.lock' object"


class Thing(NamedTuple):
    """How it is made, the path to what is to blame, and what is said about that."""

    make: Callable[[], object]
    path: str
    says: str


class Raises:
    def __init__(self, error: BaseException) -> None:
        self.error = error

    def __reduce__(self) -> NoReturn:
        raise self.error


class RaisesAsState(Raises):
    __reduce__ = object.__reduce__  # type: ignore[assignment]

    def __getstate__(self) -> NoReturn:
        raise self.error


class Gives:
    def __init__(self, value: object) -> None:
        self.value = value

    def __reduce__(self) -> Any:
        return self.value


class Holds:
    def __init__(self, part: object) -> None:
        self.part = part


class Shown(Holds):
    """As a key, or in a set, it has to be shown."""

    def __init__(self, text: Callable[[], str]) -> None:
        super().__init__(threading.Lock())
        self.text = text

    def __repr__(self) -> str:
        return self.text()


class Slots:
    __slots__ = ("__hidden", "_kept")

    def __init__(self) -> None:
        self.__hidden = threading.Lock()


class MoreSlots(Slots):
    __slots__ = "more"


class Answers:
    """Every question, in its own way."""

    def __init__(self) -> None:
        self.__dict__["part"] = threading.Lock()

    def __getstate__(self) -> dict[str, object]:
        """As from Python 3.11 on: before, pickling asks `__getattr__` for it, and exits."""
        return self.__dict__

    def __getattr__(self, name: str) -> NoReturn:
        raise SystemExit(f"no {name}")


class Speaks(Exception):
    """At length."""

    def __str__(self) -> str:
        return "and so on, " * 100_000


class Endless:
    def __getstate__(self) -> dict[str, object]:
        return {"another": Endless()}


class Mute(Exception):
    def __str__(self) -> NoReturn:
        raise SystemExit(1)


def leave() -> NoReturn:
    raise SystemExit(1)


def chain(length: int) -> object:
    thing: object = threading.Lock()
    for _ in range(length):
        thing = Holds(thing)
    return thing


def circle() -> object:
    one: list[object] = []
    one += [one, {"lock": threading.Lock()}]
    return one


def closed() -> object:
    sock = socket.socket()
    sock.close()
    return Holds(sock)


def generator() -> Iterator[int]:
    yield 1


def local_class() -> object:
    class Local:
        lock = threading.Lock()

    return Local()


def local_closure() -> object:
    lock = threading.Lock()
    return lambda: lock


def cell() -> object:
    lock = threading.Lock()
    return (lambda: lock).__closure__[0]  # type: ignore[index]  # it has one


def traceback() -> object:
    try:
        raise ValueError
    except ValueError as error:
        return error.__traceback__


def with_default() -> object:
    def local(lock: object = threading.Lock()) -> object:
        return lock

    return local


def error_with_a_lock() -> object:
    return ValueError("it", threading.Lock())


def many() -> object:
    items: dict[object, object] = {number: [number] for number in range(1500)}
    return {**items, "lock": threading.Lock()}


THINGS = {
    "a lock": Thing(threading.Lock, "", LOCK),
    "a lock among others": Thing(lambda: [1, {"a": (2, threading.Lock())}], "[1]['a'][1]", LOCK),
    "a lock, far down": Thing(lambda: chain(20), 20 * ".part", LOCK),
    "a lock, too far down": Thing(lambda: chain(60), 26 * ".part", LOCK),  # of 30 steps, some lead to the thing
    "a lock among many": Thing(many, "['lock']", LOCK),
    "a lock in a circle": Thing(circle, "[1]['lock']", LOCK),
    "a lock in a slot of a base": Thing(MoreSlots, "._Slots__hidden", LOCK),
    "a lock in a deque": Thing(lambda: deque([0, threading.Lock()]), "[1]", LOCK),
    "a lock in a partial": Thing(lambda: functools.partial(Holds, part=threading.Lock()), ".keywords['part']", LOCK),
    "a lock in a cell": Thing(cell, ".cell_contents", LOCK),
    "a lock in a closure": Thing(local_closure, " variable 'lock'", LOCK),
    "a lock as a default": Thing(with_default, ".__defaults__[0]", LOCK),
    "a lock in an error": Thing(error_with_a_lock, ".args[1]", LOCK),
    "a lock in a local class": Thing(local_class, ".__class__.lock", LOCK),
    "a lock in what answers oddly": Thing(Answers, "", "in a Answers"),
    "a key that shows itself at length": Thing(lambda: {Shown(lambda: "key" * 1_000_000): 1}, " key keykey", LOCK),
    "a key that can't be shown": Thing(lambda: {Shown(leave): 1}, " key a Shown (whose repr() raises Sys", LOCK),
    "an element that can't be shown": Thing(lambda: {Shown(leave)}, " element a Shown", LOCK),
    "a long key": Thing(lambda: {"key" * 1_000_000: threading.Lock()}, "['keykey", LOCK),
    "a generator": Thing(generator, "", "a generator can't be pickled"),
    "a thread": Thing(threading.Thread, ".", "cannot pickle '_thread."),
    "a socket": Thing(closed, ".part", "socket"),
    "a frame": Thing(sys._getframe, "", "frame"),
    "a traceback": Thing(traceback, "", "traceback"),
    "a weak reference": Thing(lambda: weakref.ref(Holds), "", "weakref"),
    "a pointer": Thing(lambda: ctypes.pointer(ctypes.c_int(1)), "", "pointers"),
    "a file to write to": Thing(lambda: os.fdopen(os.dup(1), "wb"), "", "BufferedWriter"),
    "__reduce__ raises": Thing(lambda: Raises(ValueError("not me")), "", "ValueError: not me (it is a Raises)"),
    "__reduce__ raises nothing much": Thing(lambda: Raises(MemoryError()), "", "MemoryError (it is a Raises)"),
    "__reduce__ exits": Thing(lambda: Raises(SystemExit(3)), "", "SystemExit: 3 (it is a Raises)"),
    "__reduce__ raises GeneratorExit": Thing(lambda: Raises(GeneratorExit()), "", "GeneratorExit"),
    "__reduce__ raises a BaseException": Thing(lambda: Raises(BaseException("base")), "", "BaseException: base"),
    "__reduce__ raises at length": Thing(lambda: Raises(Speaks()), "", "Speaks: and so on, and so on"),
    "__reduce__ raises what can't be told": Thing(lambda: Raises(Mute()), "", "Mute (it is a Raises)"),
    "__getstate__ exits": Thing(lambda: [RaisesAsState(SystemExit(3))], "[0]", "SystemExit: 3"),
    "__reduce__ gives a number": Thing(lambda: Gives(5), "", "must return a string or tuple"),
    "__reduce__ gives too little": Thing(lambda: Gives(()), "", "must contain 2 through 6"),
    "__reduce__ gives no callable": Thing(lambda: Gives((1, 2)), "", "must be callable"),
    "__reduce__ gives a name of nothing": Thing(lambda: Gives("nothing"), "", "nothing"),
    "a part that only pickle sees": Thing(lambda: Gives((list, ([threading.Lock()],))), "", LOCK),
    "it never ends": Thing(Endless, "", "recursion"),
}
