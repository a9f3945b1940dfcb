"""Transfers that are a part of the task itself: what runs where the task does."""

from __future__ import annotations

import os
import shutil
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from parsl_pool.errors import TransferFailed
from parsl_pool.staging import kept, locks, room
from parsl_pool.staging.folders import made
from parsl_pool.staging.transfers.urls import shown


def fetched(
    fetch: Callable[[str, Path, Any], object], url: str, path: str, options: Any, most_bytes: int
) -> None:
    """Fetch a file for tasks that come later, unless there is no room. Raises what `fetch` raises, TransferFailed."""
    kept.bring_ahead(kept.Wanted(url, path, lambda target: fetch(url, target, options), most_bytes))


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
    while True:
        made(folder)
        with _being_written(folder) as is_mine:
            if not is_mine:
                continue
            try:
                value = func(*args, **kwargs)
                send(Path(path), url, options)
                return value
            finally:
                shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _being_written(folder: str) -> Iterator[bool]:
    """Whoever clears up behind tasks that were killed sees that this one was not; False: it has just been too fast."""
    if not locks.are_good(os.path.dirname(folder)):  # that one stays
        yield True
        return
    with locks.shared(os.path.join(folder, room.OUTPUT)) as lock:
        yield lock is not None


def with_folder(func: Callable[..., Any], folder: str, /, *args: Any, **kwargs: Any) -> Any:
    """Run the function when there is that folder, which stays if the function returns. Raises what it raises."""
    made(folder)
    while locks.are_good(os.path.dirname(folder)):  # that one stays
        with locks.alone(os.path.join(folder, room.SENT)) as lock:
            if lock is not None:
                os.unlink(os.path.join(folder, room.SENT))  # whoever makes room leaves it alone from now on
                break
        made(folder)
    try:
        return func(*args, **kwargs)
    except BaseException:  # passed on
        shutil.rmtree(folder, ignore_errors=True)
        raise


def sent(send: Callable[[Path, str, Any], object], path: str, url: str, options: Any) -> None:
    """Send what a task has written; a copy stays until its room is needed. Raises what `send` raises.

    If it can't be sent it stays, for nobody else has it. TransferFailed: it is on another node.
    """
    if not os.path.exists(path):
        raise TransferFailed(
            shown(url), f"{path} could not be sent there: the task has written it on another node than "
            f"{socket.gethostname()}. All nodes of the executor must see its working_dir; where they share none, use a "
            "provider that brings files in the task"
        )  # fmt: skip
    send(Path(path), url, options)
    folder = os.path.dirname(path)
    if locks.are_good(folder):
        with suppress(OSError):  # what matters is done
            Path(folder, room.SENT).touch(0o600)
            room.is_short(os.path.dirname(folder), 0, room.size_of(os.stat(path)))
