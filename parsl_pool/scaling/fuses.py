"""Bounds on what a pool may ask of a cluster, whatever its strategy wants."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from typing import TYPE_CHECKING, NamedTuple

from parsl_pool import checks

if TYPE_CHECKING:
    from parsl_pool.scaling.table import Block  # every pool loads this module, and most have no blocks

_HOUR_S = 3600.0


class Fuses(NamedTuple):
    """What the user allows. None: as much as the provider gives."""

    node_hours: float | None = None
    submissions_per_hour: int | None = None


def checked_fuses(node_hours: object, submissions_per_hour: object) -> Fuses:
    """Raises ConfigurationError."""
    hours = checks.optional(checks.number(above=0, most=1e9, kind="a number of hours"))
    return Fuses(
        hours("max_node_hours", node_hours),
        checks.optional(checks.whole(above=0))("max_submissions_per_hour", submissions_per_hour),
    )


class Budget:
    """What has been used up so far. No clock: each call says what time it is. One owner."""

    def __init__(self, fuses: Fuses, nodes_per_block: int) -> None:
        self._fuses, self._nodes = fuses, nodes_per_block
        self._spent_s = 0.0  # node seconds of blocks that have ended
        self._counted: set[str] = set()  # these
        self._submitted: deque[float] = deque()

    def submitted(self, now: float) -> None:
        """A job has been asked for, with or without success."""
        if self._fuses.submissions_per_hour is not None:
            self._submitted.append(now)

    def room(self, now: float) -> int | None:
        """How many jobs may be submitted now; None: any number."""
        most = self._fuses.submissions_per_hour
        if most is None:
            return None
        while self._submitted and now - self._submitted[0] >= _HOUR_S:
            self._submitted.popleft()
        return max(0, most - len(self._submitted))

    def free_in_s(self, now: float) -> float:
        """How long until one may be submitted again."""
        return 0.0 if self.room(now) != 0 else self._submitted[0] + _HOUR_S - now

    def node_hours(self, blocks: Iterable[Block], now: float) -> float:
        """What the blocks have taken. A job counts from when it was first seen to run."""
        running_s = 0.0
        for block in blocks:
            if block.began is None or block.number in self._counted:
                continue
            lasted_s = (now if block.ended is None else block.ended) - block.began
            if block.ended is None:
                running_s += lasted_s
            else:
                self._counted.add(block.number)
                self._spent_s += lasted_s * self._nodes
        return (self._spent_s + running_s * self._nodes) / _HOUR_S

    def is_blown(self, blocks: Iterable[Block], now: float) -> bool:
        """True once the node hours are used up."""
        return self._fuses.node_hours is not None and self.node_hours(blocks, now) >= self._fuses.node_hours

    def next_look_s(self, blocks: Iterable[Block], now: float) -> float | None:
        """In how many seconds they will be, as things are; None: not soon, or never."""
        blocks = list(blocks)
        running = sum(block.began is not None and block.ended is None for block in blocks)
        if self._fuses.node_hours is None or not running:
            return None
        left_s = (self._fuses.node_hours - self.node_hours(blocks, now)) * _HOUR_S
        return max(0.0, left_s / (running * self._nodes))
