"""Makes a Linux interpreter one that refuses to parsl_pool what only Linux has. Others, as zmq, get what they ask for.

tests/conftest.py uses it in portable mode, and puts its folder on PYTHONPATH, so that every Python that tests and pools
start does the same. A refused call raises, and is written down with its stack, since the raising may have been caught.
"""

import fcntl
import os
import resource
import select
import signal
import socket
import sys
import traceback
from collections.abc import Callable
from functools import wraps
from types import FrameType
from typing import Any

REPORT = "PARSL_POOL_LINUX_CALLS"
"""Environment: the file that gets the stacks."""

# macOS has none of these, or not in all versions that Python runs on.
CALLS: list[tuple[Any, tuple[str, ...]]] = [
    (os, ("memfd_create", "eventfd", "eventfd_read", "eventfd_write", "pidfd_open", "waitid", "pipe2", "splice",
          "copy_file_range", "preadv", "pwritev",
          "posix_fallocate", "posix_fadvise", "getresuid", "getresgid", "sched_getaffinity",
          "sched_setaffinity", "sched_setscheduler", "setns", "unshare", "fdatasync", "sync_file_range", "getxattr",
          "setxattr", "listxattr", "timerfd_create")),
    (select, ("epoll",)),
    (signal, ("sigtimedwait", "sigwaitinfo", "pidfd_send_signal")),
    (resource, ("prlimit",)),
]  # fmt: skip

# Only constants, but whoever passes one gets another error there.
CONSTANTS: list[tuple[Any, tuple[str, ...]]] = [
    (socket, ("SOCK_CLOEXEC", "SOCK_NONBLOCK", "SO_PEERCRED", "SO_PASSCRED", "MSG_CMSG_CLOEXEC", "SO_DOMAIN")),
    (fcntl, ("F_SETPIPE_SZ", "F_ADD_SEALS", "F_OFD_SETLK", "F_NOTIFY")),
    (os, ("O_PATH", "O_DIRECT")),
]

_FILES = ("/proc", "/sys/", "/dev/shm")
_FILE_EVENTS = frozenset({"open", "os.listdir", "os.scandir", "ctypes.dlopen"})


def is_asked_by_us() -> bool:
    """True if the nearest caller outside of the standard library is a module of parsl_pool."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        name = frame.f_globals.get("__name__") or ""
        top = name.partition(".")[0]
        if name == "ctypes" and frame.f_code.co_name == "<module>":
            return False  # it opens something of its own when it is imported
        if name != __name__ and top not in sys.stdlib_module_names and top != "importlib":
            return bool(top == "parsl_pool")
        frame = frame.f_back
    return False


def refuse(what: str) -> None:
    """Write it down, and raise."""
    stack = "".join(traceback.format_stack(sys._getframe(1)))
    if path := os.environ.get(REPORT):
        fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        os.write(fd, f"{what}:\n{stack}\n".encode())
        os.close(fd)
    raise RuntimeError(f"{what}: this is no Linux")


def guarded(name: str, call: Callable[..., Any]) -> Callable[..., Any]:
    """The call, for others."""

    @wraps(call)
    def guard(*args: Any, **kwargs: Any) -> Any:
        if is_asked_by_us():
            refuse(name)
        return call(*args, **kwargs)

    return guard


def watch_files(event: str, arguments: tuple[Any, ...]) -> None:
    """An audit hook: it can't be taken away, and sees every way to open a file."""
    if event in _FILE_EVENTS and arguments:
        path = arguments[0]
        is_theirs = event == "ctypes.dlopen" or (isinstance(path, str) and path.startswith(_FILES))
        if is_theirs and is_asked_by_us():
            refuse(f"{event} {path}")


def install() -> None:
    """From here on, in this process and its forks."""
    for module, names in CALLS:
        for name in names:
            if hasattr(module, name):
                setattr(module, name, guarded(f"{module.__name__}.{name}", getattr(module, name)))
    for module, names in CONSTANTS:
        for name in names:
            if hasattr(module, name):
                delattr(module, name)
    sys.addaudithook(watch_files)


if os.environ.get("PARSL_POOL_PORTABLE"):
    install()
