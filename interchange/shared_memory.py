"""Shared memory without names: nothing is left to unlink after a kill -9, and nobody else can open it.

Linux has `memfd_create`; elsewhere a temporary file is unlinked as soon as it is open. Either way the
descriptor is what is passed from process to process.
"""

from __future__ import annotations

import os
from mmap import ACCESS_COPY, mmap

PORTABLE = bool(os.environ.get("PARSL_POOL_PORTABLE"))
"""True: use only what every Unix has. Tests force it, to see that the fallbacks work."""


def create(size: int, label: str) -> int:
    """A descriptor of `size` zero bytes of memory; pages count only when they are touched.

    Raises:
        OSError: no memory, no descriptor left, or (fallback) no room in the temporary directory.
    """
    if hasattr(os, "memfd_create") and not PORTABLE:
        fd = os.memfd_create(f"parsl-pool-{label}", os.MFD_CLOEXEC)
    else:
        fd = _unlinked_file()
    try:
        os.ftruncate(fd, size)
    except OSError:
        os.close(fd)
        raise
    return fd


def _unlinked_file() -> int:
    import tempfile  # only where there is no memfd_create: it costs a worker's start 10 ms

    fd, path = tempfile.mkstemp(prefix="parsl-pool-")
    os.unlink(path)
    return fd


def map_shared(fd: int, size: int) -> mmap:
    """The memory itself: what one process writes, all others see."""
    return mmap(fd, size)


def map_private(fd: int) -> mmap:
    """A copy-on-write view: it can be written to, and nobody else sees that."""
    return mmap(fd, 0, access=ACCESS_COPY)
