"""Transfers that are a part of the task itself: what runs where the task does.

A file that comes in lies in a folder of its own, which has a lock. All tasks of a node that use it at the same time
hold that together; the first has fetched it, alone. So it is fetched once a node, also by processes that know nothing
of each other, and one that dies leaves no lock behind. What nobody uses any more stays until there is too much of it.
"""

from __future__ import annotations

import fcntl
import os
import random
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from time import sleep
from typing import Any

from parsl_pool.staging.folders import made

_LOCK = ".in-use"


def with_input(
    func: Callable[..., Any],
    fetch: Callable[[str, Path, Any], object],
    url: str,
    path: str,
    options: Any,
    most_bytes: int,
    /,
    *args: Any,
    **kwargs: Any,
) -> Any:
    """Run the function when the file is at that path; fetch it if it isn't. Raises what either raises.

    Args:
        most_bytes: files that nobody uses are removed, the oldest first, when all have more than that.
    """
    with _used(path, lambda: fetch(url, Path(path), options), most_bytes):
        return func(*args, **kwargs)


def with_output(
    func: Callable[..., Any],
    send: Callable[[Path, str, Any], object],
    path: str,
    url: str,
    options: Any,
    /,
    *args: Any,
    **kwargs: Any,
) -> Any:
    """Run the function, and send the file that it has written. Nothing stays here. Raises what either raises."""
    folder = os.path.dirname(path)
    made(folder)
    try:
        value = func(*args, **kwargs)
        send(Path(path), url, options)
        return value
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def with_folder(func: Callable[..., Any], folder: str, /, *args: Any, **kwargs: Any) -> Any:
    """Run the function when there is that folder."""
    made(folder)
    return func(*args, **kwargs)


@contextmanager
def _used(path: str, fetch: Callable[[], object], most_bytes: int) -> Iterator[None]:
    folder = os.path.dirname(path)
    while True:
        made(folder)
        try:
            lock = os.open(os.path.join(folder, _LOCK), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except FileNotFoundError:  # somebody removes it just now
            continue
        try:
            fcntl.flock(lock, fcntl.LOCK_SH)
            if not os.path.exists(path):
                # Never waited for: that would be for all who use the file, when somebody else has fetched it.
                try:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)  # it lets go first
                except BlockingIOError:
                    sleep(random.uniform(0.001, 0.02))  # several have looked at the same moment
                    continue
                if os.path.samestat(os.fstat(lock), _stat(os.path.join(folder, _LOCK))):
                    if not os.path.exists(path):
                        _make_room(os.path.dirname(folder), most_bytes)
                        fetch()
                    fcntl.flock(lock, fcntl.LOCK_SH)
            if os.path.samestat(os.fstat(lock), _stat(os.path.join(folder, _LOCK))) and os.path.exists(path):
                yield
                return
        finally:
            os.close(lock)


def _stat(path: str) -> os.stat_result:
    try:
        return os.stat(path)
    except FileNotFoundError:
        return os.stat("/")  # another one than any lock's


def _make_room(where: str, most_bytes: int) -> None:
    """Remove folders of files that nobody uses, the oldest first, until the rest has no more than that."""
    sizes = {}
    for entry in os.scandir(where):
        with suppress(OSError):  # it has just been removed
            if entry.is_dir(follow_symlinks=False) and os.path.exists(os.path.join(entry.path, _LOCK)):
                size = sum(each.stat().st_size for each in os.scandir(entry.path))
                sizes[entry.path] = (entry.stat().st_mtime_ns, size)
    total = sum(size for _, size in sizes.values())
    for folder in sorted(sizes, key=lambda each: sizes[each]):
        if total <= most_bytes:
            return
        if _removed(folder):
            total -= sizes[folder][1]


def _removed(folder: str) -> bool:
    try:
        lock = os.open(os.path.join(folder, _LOCK), os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        shutil.rmtree(folder, ignore_errors=True)
        return True
    except BlockingIOError:  # in use
        return False
    finally:
        os.close(lock)
