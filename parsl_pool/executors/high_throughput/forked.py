"""A fork of the user's process: each pool in it is its parent's, unless it has not been used yet."""

from __future__ import annotations

import os
from typing import Protocol
from weakref import WeakSet


class Disownable(Protocol):
    """What is a process's own."""

    def disown(self) -> None:
        """In a forked child: let go of what is the parent's."""


_watched: WeakSet[Disownable] = WeakSet()


def watch(link: Disownable) -> None:
    """Have it disowned in forked children, as long as it lives."""
    _watched.add(link)


def _after_fork_in_child() -> None:
    for link in list(_watched):
        link.disown()


os.register_at_fork(after_in_child=_after_fork_in_child)
