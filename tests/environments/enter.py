"""Makes a place for a program, and becomes the program: `enter.py STEPS COMMAND ...`, STEPS as JSON.

Each step is a list: what to do, and its arguments. They are done in order.
"""

import ctypes
import json
import os
import resource
import signal
import sys
from collections.abc import Callable

CLONE_NEWNS, CLONE_NEWNET, CLONE_NEWUTS = 0x20000, 0x40000000, 0x4000000  # unshare(2)
MS_RDONLY, MS_REMOUNT, MS_BIND, MS_REC, MS_PRIVATE = 1, 32, 4096, 16384, 1 << 18  # mount(2)

libc = ctypes.CDLL(None, use_errno=True)


def called(name: str, *arguments: object) -> None:
    """A function of the C library. Raises OSError."""
    if getattr(libc, name)(*arguments):
        number = ctypes.get_errno()
        raise OSError(number, f"{name}: {os.strerror(number)}")


def limit(name: str, value: int) -> None:
    resource.setrlimit(getattr(resource, "RLIMIT_" + name), (value, value))


def close(*descriptors: int) -> None:
    for fd in descriptors:
        os.close(fd)


def broken_pipe(fd: int) -> None:
    read, write = os.pipe()
    os.close(read)
    os.dup2(write, fd)
    os.close(write)


def to(fd: int, path: str) -> None:
    os.dup2(os.open(path, os.O_RDWR), fd)


def user(number: int) -> None:
    os.setgroups([])
    os.setgid(number)
    os.setuid(number)


def ignore(name: str) -> None:
    signal.signal(getattr(signal, name), signal.SIG_IGN)


def block_all() -> None:
    signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())


def removed_directory(path: str) -> None:
    os.mkdir(path)
    os.chdir(path)
    os.rmdir(path)


def own_mounts() -> None:
    called("unshare", CLONE_NEWNS)
    called("mount", None, b"/", None, MS_REC | MS_PRIVATE, None)


def tmpfs(path: str, options: str) -> None:
    called("mount", b"none", os.fsencode(path), b"tmpfs", 0, options.encode())


def read_only(path: str) -> None:
    called("mount", None, os.fsencode(path), None, MS_REMOUNT | MS_RDONLY, None)


def fill(path: str) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CREAT, 0o600)
    try:
        while os.write(fd, bytes(65536)):
            pass
    except OSError:
        os.close(fd)


def all_read_only() -> None:
    called("mount", None, b"/", None, MS_REMOUNT | MS_BIND | MS_RDONLY, None)


def open_to_all(*paths: str) -> None:
    """Let other users reach these: a folder on the way that keeps them out is replaced, for us, by an empty one."""
    closed = {path: [folder for folder in ancestors(path) if not os.stat(folder).st_mode & 1] for path in paths}
    there = {path: os.open(path, os.O_PATH) for path in paths}
    for folder in {folders[0] for folders in closed.values() if folders}:
        tmpfs(folder, "mode=755,size=1m")
    for path, fd in there.items():
        if closed[path]:
            os.makedirs(path)
            called("mount", f"/proc/self/fd/{fd}".encode(), os.fsencode(path), None, MS_BIND | MS_REC, None)
        os.close(fd)


def ancestors(path: str) -> list[str]:
    """The folders above it, from the root on."""
    parts = os.path.abspath(path).split("/")
    return ["/".join(parts[:end]) or "/" for end in range(1, len(parts))]


def no_network() -> None:
    called("unshare", CLONE_NEWNET)


def host_name(name: str) -> None:
    called("unshare", CLONE_NEWUTS)
    called("sethostname", name.encode(), len(name.encode()))


STEPS: list[Callable[..., object]] = [
    limit, close, broken_pipe, to, user, ignore, block_all, removed_directory, own_mounts, tmpfs, read_only, fill,
    no_network, host_name, all_read_only, open_to_all, os.umask, os.setsid, os.chdir,
]  # fmt: skip

if __name__ == "__main__":
    known = {step.__name__: step for step in STEPS}
    for name, *arguments in json.loads(sys.argv[1]):
        known[name](*arguments)
    os.execv(sys.argv[2], sys.argv[2:])
