"""Faults by name: what can go wrong in a task, and what its future is then to say.

    fault.submit(pool) -> a future, which fails with one of fault.errors, its text containing fault.says

Everything here must be importable by workers. What is to fail on one side only looks at HOME, the client's pid,
which comes with the object.
"""

import ctypes
import os
import resource
import signal
import sys
import threading
from collections.abc import Callable
from concurrent.futures import Executor, Future
from functools import partial
from typing import Any, NamedTuple, NoReturn

from parsl_pool.errors import DeserializationError, RemoteError, SerializationError, WorkerLost

Fails = Callable[[], object]


class Fault(NamedTuple):
    """One way to fail."""

    name: str
    submit: Callable[[Executor], "Future[Any]"]
    errors: tuple[type[BaseException], ...]
    says: str = ""

    def __str__(self) -> str:
        return self.name


# ---- what a task can do to its worker


def segfault(_: object = None) -> None:
    ctypes.string_at(0)


def abort() -> None:
    os.abort()


def leave(code: int, _: object = None) -> NoReturn:
    os._exit(code)


def signal_itself(number: int) -> None:
    os.kill(os.getpid(), number)
    signal.pause()


def overflow_the_stack() -> None:
    """In C, on every Python: no interpreter counts on so small a stack."""
    resource.setrlimit(resource.RLIMIT_STACK, (1 << 17, resource.getrlimit(resource.RLIMIT_STACK)[1]))
    sys.setrecursionlimit(1 << 20)

    def deeper(_: int) -> list[object]:
        return [*map(deeper, (0,))]

    deeper(0)


def spin_beyond_its_limit() -> NoReturn:
    used = resource.getrusage(resource.RUSAGE_SELF)
    limit = int(used.ru_utime + used.ru_stime) + 1
    resource.setrlimit(resource.RLIMIT_CPU, (limit, limit + 5))
    while True:
        pass


def take_all_memory() -> None:
    """Fails as a call of malloc() does when the machine has no more, for as long as this task lasts."""
    before = resource.getrlimit(resource.RLIMIT_AS)
    with open("/proc/self/statm") as file:
        size = int(file.read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (size + (1 << 26), before[1]))
    try:
        hoard: list[bytes] = []
        while True:
            hoard.append(bytes(1 << 20))
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)


def kill_the_fork_server() -> None:
    os.kill(os.getppid(), signal.SIGKILL)
    signal.pause()


def exit_by(error: BaseException) -> NoReturn:
    raise error


# ---- hostile objects: each fails when it is pickled, rebuilt, compared, hashed or shown


def fail(error: type[BaseException], text: str = "by itself") -> NoReturn:
    raise error(text)


class FailsToPickle:
    """As argument, result or state."""

    def __init__(self, action: Fails) -> None:
        self.action = action

    def __reduce__(self) -> str:
        self.action()
        return ""


class FailsToRebuild:
    """Away from the process that it was made in; there it is an ordinary object."""

    def __init__(self, action: Fails) -> None:
        self.home, self.action = os.getpid(), action

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        if os.getpid() != self.home:
            self.action()

    def __call__(self) -> int:
        return 1


class FailsAsKey:
    """In a dict or a set, away from home: a dict is rebuilt by hashing its keys, and comparing equal hashes."""

    def __init__(self, method: str) -> None:
        self.home, self.method = os.getpid(), method

    def _check(self, method: str) -> None:
        # Without attributes yet, it is being rebuilt, which happens away from home only.
        if self.__dict__.get("home") != os.getpid() and self.__dict__.get("method", method) == method:
            raise ZeroDivisionError(f"in {method}")

    def __hash__(self) -> int:
        self._check("__hash__")
        return 7

    def __eq__(self, other: object) -> bool:
        self._check("__eq__")
        return self is other


class TakesTwo(Exception):
    """Can't be rebuilt from its args, as very many exceptions in the world."""

    def __init__(self, one: object, two: object) -> None:
        super().__init__(f"{one} and {two}")


class FailsToPickleError(Exception):
    def __reduce__(self) -> NoReturn:
        fail(ZeroDivisionError)


class FailsToShowError(Exception):
    def __str__(self) -> str:
        fail(ZeroDivisionError)

    __repr__ = __str__


class FailsToCompareError(Exception):
    __hash__ = None  # type: ignore[assignment]  # the fault

    def __eq__(self, other: object) -> NoReturn:
        fail(ZeroDivisionError)


class FailsToRebuildError(Exception):
    """In the client, by an action; the worker's own trial is a success."""

    def __init__(self, text: str, action: Fails) -> None:
        super().__init__(text, action)
        self.home, self.action = os.getpid(), action

    def __setstate__(self, state: Any) -> None:
        self.__dict__.update(state)
        if os.getpid() != self.home:
            self.action()


class LeavesOnRebuildError(Exception):
    def __reduce__(self) -> tuple[Callable[[int], NoReturn], tuple[int]]:
        return os._exit, (5,)


class BecomesSomethingElse(Exception):
    def __reduce__(self) -> tuple[type[int], tuple[()]]:
        return int, ()


def rebuild(value: object) -> object:
    return value


def raise_two_takes() -> NoReturn:
    raise TakesTwo("one", "two")


def raise_with_a_lock() -> NoReturn:
    raise ValueError("with a lock", threading.Lock())


def raise_with_a_hostile_cause() -> NoReturn:
    try:
        raise FailsToPickleError("the cause")
    except FailsToPickleError as cause:
        raise ValueError("the effect") from cause


def raise_in_a_circle() -> NoReturn:
    one, other = ValueError("one"), KeyError("other")
    one.__cause__, other.__cause__ = other, one
    raise one


def make(kind: type[object], *args: object) -> object:
    return kind(*args)


def make_and_raise(kind: type[BaseException], *args: object) -> NoReturn:
    raise kind(*args)


def nested(depth: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(depth):
        value = [value]
    return value


def make_key_set() -> object:
    return {FailsAsKey("__hash__")}


def a_local_class() -> object:
    class Local:
        lock = threading.Lock()

    return Local()


def _call(name: str, errors: Any, says: str, fn: Callable[..., object], *args: Any) -> Fault:
    errors = errors if isinstance(errors, tuple) else (errors,)
    return Fault(name, lambda pool: pool.submit(fn, *args), errors, says)


def _argument(name: str, errors: Any, says: str, make_argument: Callable[[], object]) -> Fault:
    """The argument is made when the fault is submitted: in the client, not when this module is imported there."""
    errors = errors if isinstance(errors, tuple) else (errors,)
    return Fault(name, lambda pool: pool.submit(rebuild, make_argument()), errors, says)


raises = partial(partial, fail)

IN_THE_TASK = [
    _call("segfault", WorkerLost, "SIGSEGV", segfault),
    _call("abort", WorkerLost, "SIGABRT", abort),
    _call("os._exit(0)", WorkerLost, "exit code 0", leave, 0),
    _call("os._exit(3)", WorkerLost, "exit code 3", leave, 3),
    _call("SIGKILL", WorkerLost, "SIGKILL", signal_itself, signal.SIGKILL),
    _call("SIGTERM", WorkerLost, "SIGTERM", signal_itself, signal.SIGTERM),
    _call("stack overflow in C", WorkerLost, "SIGSEGV", overflow_the_stack),
    _call("more processor time than its limit", WorkerLost, "SIGXCPU", spin_beyond_its_limit),
    _call("more memory than its limit", MemoryError, "", take_all_memory),
    _call("SIGKILL to the fork server", WorkerLost, "fork server", kill_the_fork_server),
    _call("sys.exit", SystemExit, "bye", sys.exit, "bye"),
    _call("KeyboardInterrupt", KeyboardInterrupt, "", exit_by, KeyboardInterrupt()),
    _call("GeneratorExit", GeneratorExit, "", exit_by, GeneratorExit()),
]

IN_ARGUMENTS = [
    _argument("argument: __reduce__ raises", SerializationError, "ZeroDivisionError",
              lambda: FailsToPickle(raises(ZeroDivisionError))),
    _argument("argument: a lock", SerializationError, "lock", threading.Lock),
    _argument("argument: nested too deeply", SerializationError, "", lambda: nested(100_000)),
    _argument("argument: __setstate__ raises", DeserializationError, "ZeroDivisionError",
              lambda: FailsToRebuild(raises(ZeroDivisionError))),
    _argument("argument: __setstate__ calls sys.exit", DeserializationError, "SystemExit",
              lambda: FailsToRebuild(raises(SystemExit))),
    _argument("argument: __setstate__ is interrupted", DeserializationError, "KeyboardInterrupt",
              lambda: FailsToRebuild(raises(KeyboardInterrupt))),
    _argument("argument: __setstate__ leaves", WorkerLost, "exit code 4",
              lambda: FailsToRebuild(partial(leave, 4))),
    _argument("argument: __setstate__ crashes", WorkerLost, "SIGSEGV", lambda: FailsToRebuild(segfault)),
    _argument("argument: __hash__ raises", DeserializationError, "__hash__", lambda: {FailsAsKey("__hash__")}),
    _argument("argument: __eq__ raises", DeserializationError, "__",
              lambda: {FailsAsKey("__eq__"), FailsAsKey("__eq__")}),
    Fault("function: can't be pickled", lambda pool: pool.submit(partial(rebuild, threading.Lock())),
          (SerializationError,), "lock"),
    Fault("function: can't be rebuilt", lambda pool: pool.submit(FailsToRebuild(raises(ZeroDivisionError))),
          (DeserializationError,), "ZeroDivisionError"),
]  # fmt: skip

IN_RESULTS = [
    _call("result: __reduce__ raises", SerializationError, "ZeroDivisionError",
          make, FailsToPickle, raises(ZeroDivisionError)),
    _call("result: __reduce__ leaves", WorkerLost, "exit code 6", make, FailsToPickle, partial(leave, 6)),
    _call("result: __reduce__ crashes", WorkerLost, "SIGSEGV", make, FailsToPickle, segfault),
    _call("result: a lock", SerializationError, "lock", make, threading.Lock),
    _call("result: a local class with a lock", SerializationError, "lock", a_local_class),
    _call("result: nested too deeply", SerializationError, "", nested, 100_000),
    _call("result: __setstate__ raises", DeserializationError, "ZeroDivisionError",
          make, FailsToRebuild, raises(ZeroDivisionError)),
    _call("result: __setstate__ calls sys.exit", DeserializationError, "SystemExit",
          make, FailsToRebuild, raises(SystemExit)),
    _call("result: __hash__ raises", DeserializationError, "__hash__", make_key_set),
]  # fmt: skip

IN_ERRORS = [
    _call("error: takes two arguments", RemoteError, "one and two", raise_two_takes),
    _call("error: __reduce__ raises", RemoteError, "FailsToPickleError", make_and_raise, FailsToPickleError, "x"),
    _call("error: __str__ raises", (FailsToShowError, RemoteError), "", make_and_raise, FailsToShowError, "x"),
    _call("error: __eq__ raises, no __hash__", FailsToCompareError, "x", make_and_raise, FailsToCompareError, "x"),
    _call("error: holds a lock", RemoteError, "with a lock", raise_with_a_lock),
    _call("error: its cause can't be pickled", ValueError, "the effect", raise_with_a_hostile_cause),
    _call("error: its own cause", ValueError, "one", raise_in_a_circle),
    _call("error: becomes something else", RemoteError, "BecomesSomethingElse",
          make_and_raise, BecomesSomethingElse, "x"),
    _call("error: leaves while it is tried", WorkerLost, "exit code 5", make_and_raise, LeavesOnRebuildError, "x"),
    _call("error: __setstate__ raises in the client", RemoteError, "ZeroDivisionError",
          make_and_raise, FailsToRebuildError, "x", raises(ZeroDivisionError)),
    _call("error: __setstate__ calls sys.exit in the client", (RemoteError, DeserializationError), "SystemExit",
          make_and_raise, FailsToRebuildError, "x", raises(SystemExit)),
]  # fmt: skip

FAULTS = [*IN_THE_TASK, *IN_ARGUMENTS, *IN_RESULTS, *IN_ERRORS]
