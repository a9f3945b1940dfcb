"""A fork of the user's process: each pool in it is its parent's, unless it has not been used yet."""

from __future__ import annotations

import os
from typing import Protocol
from weakref import WeakSet

from parsl_pool.errors import PoolBroken


class Disownable(Protocol):
    """What is a process's own."""

    def disown(self) -> None:
        """In a forked child: let go of what is the parent's. Locks may be held by threads that are not there."""


_watched: WeakSet[Disownable] = WeakSet()


def watch(owned: Disownable) -> None:
    """Have it disowned in forked children, as long as it lives."""
    _watched.add(owned)


def foreign(owner: int) -> PoolBroken:
    """The error of whoever uses a pool in a child of the process that it belongs to."""
    return PoolBroken(f"this pool belongs to process {owner}; after a fork, make one of your own")


def _after_fork_in_child() -> None:
    for owned in list(_watched):
        owned.disown()


os.register_at_fork(after_in_child=_after_fork_in_child)
