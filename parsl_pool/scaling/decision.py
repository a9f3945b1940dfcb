"""How many blocks there are to be: what is seen goes in, what is to be done comes out.

    wanted = tasks * parallelism / slots of a block, rounded up, from min_blocks to max_blocks

Nothing here asks a clock or remembers anything: how long something has been idle is part of what is seen.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import NamedTuple

_CLOSE = 1e-9  # 0.1 * 30 is a little more than 3: that is no reason for a fourth block


class Limits(NamedTuple):
    """What the provider and the user allow."""

    least: int  # blocks
    most: int
    parallelism: float  # wanted slots for each task
    slots: int  # of a block: tasks that it runs at a time
    max_idletime: float  # seconds without work after which blocks may go
    kept: int = 0  # blocks that "keep" keeps


class BlockView(NamedTuple):
    """A block that works, or will."""

    number: str
    is_up: bool  # a manager of it has registered
    idle_s: float  # seconds for which it has had no task; 0: it has some


class View(NamedTuple):
    """What is to be decided upon."""

    tasks: int  # that wait for a worker, or run
    idle_s: float  # seconds for which there have been none; 0: there are some
    surplus_s: float  # seconds for which there have been more blocks than are wanted
    blocks: tuple[BlockView, ...]  # the oldest first
    leaving: int  # blocks that are about to end, and may still hold nodes


class Plan(NamedTuple):
    """What is to be done."""

    start: int = 0  # so many blocks are to be submitted
    release: tuple[str, ...] = ()  # these are to end, once they have done what they hold


def wanted(tasks: int, limits: Limits) -> int:
    """How many blocks so many tasks call for."""
    count = math.ceil(tasks * limits.parallelism / limits.slots - _CLOSE)
    if tasks:
        count = max(count, 1)  # parallelism 0 means as few as will do, and none would not
    return max(limits.least, min(count, limits.most))


def decide(strategy: str, limits: Limits, view: View) -> Plan:
    """What this strategy does about that."""
    return STRATEGIES[strategy](limits, view)


def _none(limits: Limits, view: View) -> Plan:
    """What has been started at first is all there is."""
    return Plan()


def _keep(limits: Limits, view: View) -> Plan:
    """As many blocks as at first, whatever there is to do: each that is lost is replaced."""
    return Plan(start=_room(limits.kept, limits, view))


def _simple(limits: Limits, view: View) -> Plan:
    """As many as are called for; all that need not be there go when nothing has been to do for long."""
    count = wanted(view.tasks, limits)
    if len(view.blocks) > limits.least and not view.tasks and view.idle_s >= limits.max_idletime:
        return Plan(release=_first_to_go(view, len(view.blocks) - limits.least, _always))
    return Plan(start=_room(count, limits, view))


def _auto(limits: Limits, view: View) -> Plan:
    """As many as are called for; each that is not, and has been idle for long, goes."""
    count = wanted(view.tasks, limits)
    surplus = len(view.blocks) - count
    if surplus <= 0:
        return Plan(start=_room(count, limits, view))

    def may_go(block: BlockView) -> bool:
        return (block.idle_s if block.is_up else view.surplus_s) >= limits.max_idletime

    return Plan(release=_first_to_go(view, surplus, may_go))


def _room(count: int, limits: Limits, view: View) -> int:
    """How many are missing, and can be had: what ends still counts with the scheduler."""
    alive = len(view.blocks)
    return max(0, min(count - alive, limits.most - alive - view.leaving))


def _first_to_go(view: View, count: int, may_go: Callable[[BlockView], bool]) -> tuple[str, ...]:
    """Those that are not up first, the newest of them; then those that have been idle for longest."""
    waiting = [block for block in reversed(view.blocks) if not block.is_up and may_go(block)]
    idle = [block for block in view.blocks if block.is_up and block.idle_s > 0 and may_go(block)]
    idle.sort(key=lambda block: -block.idle_s)
    return tuple(block.number for block in (waiting + idle)[:count])


def _always(block: BlockView) -> bool:
    return True


STRATEGIES: Mapping[str, Callable[[Limits, View], Plan]] = {
    "keep": _keep,
    "none": _none,
    "simple": _simple,
    "htex_auto_scale": _auto,
}
"""By name. "keep" is that of an executor which no Config has told its strategy."""


class Idleness:
    """Since when nothing has been to do: what turns what is seen now into a `View`. One owner."""

    def __init__(self) -> None:
        self._busy_at: float | None = None  # when there was last a task
        self._wanted_at: float | None = None  # when there was last no block too many
        self._done = -1
        self._held_at: dict[str, float] = {}  # block -> when it was last seen with a task, or first without

    def view(
        self, limits: Limits, blocks: Mapping[str, bool], loads: Mapping[str, Load], tasks: int, done: int,
        leaving: int, now: float,
    ) -> View:  # fmt: skip
        """What is to be decided upon.

        Args:
            blocks: those that work or will, the oldest first: number -> whether a manager is up.
            loads: what the managers of each hold. A block that is up and not in it counts as busy.
            tasks, done: how many there are, and how many have ended since the start.
        """
        if tasks or done != self._done or self._busy_at is None:
            self._busy_at = now
        self._done = done
        if len(blocks) <= wanted(tasks, limits) or self._wanted_at is None:
            self._wanted_at = now
        self._held_at = {
            number: now if (load := loads.get(number)) is None or load.held else self._held_at.get(number, now)
            for number, is_up in blocks.items()
            if is_up
        }
        views = tuple(
            BlockView(number, is_up, self._idle_s(number, loads.get(number), now) if is_up else 0.0)
            for number, is_up in blocks.items()
        )
        return View(tasks, now - self._busy_at, now - self._wanted_at, views, leaving)

    def _idle_s(self, number: str, load: Load | None, now: float) -> float:
        if load is None or load.held:
            return 0.0
        return now - self._held_at[number] if load.idle_s is None else load.idle_s


class Load(NamedTuple):
    """What the managers of a block hold."""

    held: int  # tasks
    idle_s: float | None = None  # seconds since the last of them was done; None: they don't say
