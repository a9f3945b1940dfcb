"""Blocks that fail one after the other: when there is no hope, and how long to wait before the next."""

from __future__ import annotations

from parsl_pool.scaling.table import Fault

TRIES = 3
LONG_TRIES = 2  # of blocks that each use up all their time
_FIRST_S, _LONGEST_S = 1.0, 600.0


class Streak:
    """What is held against the latest blocks. One that is of use takes it all back."""

    def __init__(self) -> None:
        self._failures: list[str] = []  # in a row: of blocks whose managers did not register ...
        self._late = 0  # how many of these had a job that went on running
        self._early: list[str] = []  # ... and of those whose managers did, and ended before they had a worker
        self._useless = 0  # in a row: that came, and went soon, and in whose time no task was done
        self._last = 0.0

    def failed(self, fault: Fault, text: str, now: float) -> None:
        """A block was of no use."""
        self._last = now
        if fault is Fault.USELESS:
            self._early.append(text)
            return
        self._failures.append(text)
        self._late += fault is Fault.LATE

    def vanished(self, was_of_use: bool, now: float) -> None:
        """A block that had workers is gone."""
        self._last = now
        self._useless = 0 if was_of_use else self._useless + 1

    def manager_up(self) -> None:
        """The latest blocks can come to life."""
        self._failures.clear()
        self._late = 0

    def worker_up(self) -> None:
        """And they can work."""
        self._early.clear()

    @property
    def count(self) -> int:
        """How many in a row were of no use."""
        return len(self._failures) + len(self._early) + self._useless

    def hopeless(self) -> str:
        """Why no block is to be started any more; "" as long as there is hope."""
        count = len(self._failures)
        if count >= TRIES or self._late >= LONG_TRIES:
            return f"{count} blocks in a row ended before a manager of theirs registered. {self._failures[-1]}"
        if len(self._early) >= TRIES:
            return f"{len(self._early)} blocks in a row ended before a worker of theirs was up. {self._early[-1]}"
        return ""

    def pause_s(self, now: float) -> float:
        """How long no block is to be started: the longer, the more have failed in a row."""
        beyond = self.count - TRIES
        if beyond < 0:
            return 0.0
        return max(0.0, self._last + min(_LONGEST_S, _FIRST_S * 2.0 ** min(beyond, 20)) - now)

    @property
    def is_cautious(self) -> bool:
        """True while only one block is to be tried at a time."""
        return self.count >= TRIES
