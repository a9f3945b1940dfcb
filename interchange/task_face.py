"""What can be asked in a task, and said by it, and how what it says travels."""

from __future__ import annotations

import os
import socket
from struct import Struct
from typing import Any

PROGRESS, STATE, LOG = "progress", "state", "log"
"""Topics of what a task says. Bodies: fraction (NaN: none), seconds since 1970, text; a payload; level, text."""

LAST_PART = 0.1  # of a walltime: should_stop() is true then, ...
LAST_S = 30.0  # ... but not for longer than that

_PROGRESS = Struct("<dd")


class TaskFace:
    """Base of running tasks. By itself it is that of no task: all is there, and does nothing."""

    id = 0
    try_number = 0
    worker_rank = -1
    run_id = ""
    executor = ""

    @property
    def pid(self) -> int:
        """Number of this process."""
        return os.getpid()

    @property
    def host(self) -> str:
        """Name of this host."""
        return socket.gethostname()

    def progress(self, fraction: float | None, text: str) -> None:
        """So much of it is done."""

    def save(self, state: bytes | list[Any]) -> None:
        """Keep this payload for the next try."""

    def restored(self) -> bytes | memoryview:
        """The payload that the last try has kept; empty if there is none."""
        return b""

    def should_stop(self) -> bool:
        """Whether the task is to end before it is done."""
        return False

    def log(self, level: int, text: str) -> None:
        """Tell the client's log."""


def pack_progress(fraction: float | None, when: float, text: str) -> bytes:
    """The body of a message."""
    number = float("nan") if fraction is None else fraction
    return _PROGRESS.pack(number, when) + text.encode("utf-8", "replace")


def unpack_progress(body: bytes | memoryview) -> tuple[float | None, float, str]:
    """Fraction, time and text. Raises struct.error."""
    number, when = _PROGRESS.unpack_from(body)
    text = bytes(body[_PROGRESS.size :]).decode("utf-8", "replace")
    return (number if 0 <= number <= 1 else None), when, text
