"""Processes that are no more, and such as have been stopped (SIGSTOP) and do not go on."""

from __future__ import annotations

import os
from collections.abc import Iterable
from time import monotonic, sleep

from parsl_pool import portable

STOPPED_S = 10.0
"""Who has been stopped for so long while it is needed counts as lost."""

_PAUSE_S = 0.002


class Patience:
    """How long some processes have been stopped, by looking at them about once a second."""

    def __init__(self) -> None:
        self._since: dict[int, float] = {}

    def exhausted(self, pids: Iterable[int]) -> list[int]:
        """Those of these processes that have been stopped for too long. Others begin anew when they come back."""
        now = monotonic()
        self._since = {pid: self._since.get(pid, now) for pid in pids if _state(pid) in ("T", "t")}
        return [pid for pid, since in self._since.items() if now - since >= STOPPED_S]


def is_alive(pid: int) -> bool:
    """True if the process runs, be it another with the same number; False for one that nobody has waited for."""
    state = _state(pid)
    if state:
        return state not in "ZX"
    return not portable.has_proc() and is_there(pid)


def is_there(pid: int) -> bool:
    """True if there is such a process, be it one that nobody has waited for."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True  # somebody else's
    return True


def await_ends(pids: Iterable[int], seconds: float) -> list[int]:
    """Wait until these processes, which are not our children, have ended. Returns those that have not."""
    end = monotonic() + seconds
    left = [pid for pid in pids if is_alive(pid)]
    while left and monotonic() < end:
        sleep(_PAUSE_S)  # there is nothing to wait on but their end
        left = [pid for pid in left if is_alive(pid)]
    return left


def _state(pid: int) -> str:
    """A letter, as ps(1) shows it; "" if there is no such process."""
    if not portable.has_proc():
        return _state_by_psutil(pid)
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            return file.read().rpartition(b")")[2].split()[0].decode()
    except (OSError, IndexError):
        return ""


def _state_by_psutil(pid: int) -> str:
    import psutil  # takes as long to load as ten modules of ours, and Linux needs it not at all

    letters = {psutil.STATUS_STOPPED: "T", psutil.STATUS_ZOMBIE: "Z", psutil.STATUS_DEAD: "X"}
    try:
        return letters.get(psutil.Process(pid).status(), "R")
    except psutil.NoSuchProcess:
        return ""
    except psutil.AccessDenied:
        return "R"  # somebody else's, so it is there
