"""Shared memory without names: nothing is left to unlink after a kill -9, and nobody else can open it.

Linux has `memfd_create`; elsewhere a temporary file is unlinked as soon as it is open. Either way the
descriptor is what is passed from process to process.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from mmap import ACCESS_COPY, ACCESS_READ, mmap

from parsl_pool import portable
from parsl_pool.interchange.standard_streams import off_standard_streams

if not portable.has(os, "memfd_create"):
    import tempfile  # now, and not when it is needed: the user's program may have a tempfile.py on its path

_ZEROS = 1 << 20


def create(size: int, label: str) -> int:
    """A descriptor of `size` zero bytes of memory; pages count only when they are touched.

    Raises:
        OSError: no memory, no descriptor left, or (fallback) no room in the temporary directory.
    """
    if portable.has(os, "memfd_create"):
        fd = os.memfd_create(f"parsl-pool-{label}", os.MFD_CLOEXEC)
        return _made(fd, size, os.ftruncate)
    return _made(_unlinked_file(), size, _fill)


def create_named(path: str, size: int) -> int:
    """The same with a name, for where a process can't open another one's descriptors. Only this user can open it.

    Raises:
        OSError: there is such a file, or no room.
    """
    fd = _made(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), size, _fill)
    os.chmod(fd, 0o600)  # whatever the umask is
    return fd


def open_named(path: str) -> int:
    """What another process has created under that name. Raises OSError."""
    return os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)


def _made(fd: int, size: int, grow: Callable[[int, int], None]) -> int:
    fd = off_standard_streams(fd)
    try:
        grow(fd, size)
    except OSError:
        os.close(fd)
        raise
    return fd


def _fill(fd: int, size: int) -> None:
    """Grow a file on a disk: whoever touches mapped pages that the disk has no room for dies of SIGBUS, much later."""
    end = 0
    while end < size:
        end += os.pwrite(fd, bytes(min(size - end, _ZEROS)), end)


def _unlinked_file() -> int:
    fd, path = tempfile.mkstemp(prefix="parsl-pool-")
    os.unlink(path)
    return fd


def map_shared(fd: int, size: int) -> mmap:
    """The memory itself: what one process writes, all others see."""
    return mmap(fd, size)


def map_private(fd: int) -> mmap:
    """A copy-on-write view: it can be written to, and nobody else sees that."""
    return mmap(fd, 0, access=ACCESS_COPY)


def map_readonly(fd: int) -> mmap:
    """A view that nobody can write to."""
    return mmap(fd, 0, access=ACCESS_READ)
