"""What a control group lets this process have: processors and memory. Containers and batch systems make them.

Both versions are read, and all groups above ours: the smallest limit holds. In a container the path that the kernel
tells may be the host's, which is not there: then the group that is mounted is ours.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

from parsl_pool import portable

_MOUNT = "sys/fs/cgroup"
_NO_LIMIT = 1 << 60  # version 1 says a number near 2**63


def processors(root: str = "/") -> float | None:
    """How many processors' time, perhaps a part of one; None if there is no limit."""
    found = []
    for quota, period in _quotas(root):
        if quota > 0 and period > 0:
            found.append(quota / period)
    return min(found, default=None)


def memory(root: str = "/") -> int | None:
    """How many bytes; None if there is no limit."""
    texts = [*_values(root, "", "memory.max"), *_values(root, "memory", "memory.limit_in_bytes")]
    found = [limit for limit in map(_number, texts) if 0 < limit < _NO_LIMIT]
    return min(found, default=None)


def _quotas(root: str) -> Iterator[tuple[int, int]]:
    for text in _values(root, "", "cpu.max"):
        quota, _, period = text.partition(" ")
        yield _number(quota), _number(period)
    quotas, periods = _values(root, "cpu", "cpu.cfs_quota_us"), _values(root, "cpu", "cpu.cfs_period_us")
    yield from zip(map(_number, quotas), map(_number, periods))


def _number(text: str) -> int:
    """-1 for what is none, such as "max"."""
    try:
        return int(text)
    except ValueError:
        return -1


def _values(root: str, controller: str, name: str) -> list[str]:
    """What this file says in our group and in those above it. controller: "" for version 2."""
    path = _path(root, controller)
    if path is None:
        return []
    found = []
    mount = os.path.join(root, _MOUNT, controller)
    while True:
        try:
            with open(os.path.join(mount, path, name)) as file:
                found.append(file.read().strip())
        except OSError:
            pass  # no such group here, or no such limit in it
        if not path:
            return found
        path = os.path.dirname(path)


def _path(root: str, controller: str) -> str | None:
    """The path of our group, relative to where groups are mounted."""
    if not portable.has_proc():
        return None
    try:
        with open(os.path.join(root, "proc/self/cgroup")) as file:
            for line in file:
                number, controllers, path = line.strip().split(":", 2)
                if controller in controllers.split(",") and (controller or number == "0"):
                    return path.strip("/")
    except (OSError, ValueError):
        pass
    return None
