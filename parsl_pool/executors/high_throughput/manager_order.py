"""Which managers are given tasks first, where several have room: `HighThroughputExecutor(manager_selector=...)`."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any


class ManagerSelector(ABC):
    """Puts managers into an order. It is asked in the client, by the thread that keeps the blocks, whenever managers
    have come or gone; the interchange goes by the last answer. So it can neither hold up tasks nor break anything."""

    @abstractmethod
    def sort_managers(
        self, ready_managers: Mapping[str, Mapping[str, Any]], manager_list: set[str]
    ) -> list[str]:
        """The managers, those to be given tasks first in front. Ones that are left out come last.

        Args:
            ready_managers: what is known of each, by its name: `block_id`, `hostname`, `worker_count`.
            manager_list: their names.
        """


class RandomManagerSelector(ManagerSelector):
    """All managers in turn, in even shares, from wherever the turn is. This is the default."""

    def sort_managers(self, ready_managers: Mapping[str, Mapping[str, Any]], manager_list: set[str]) -> list[str]:
        """See the base class; the interchange needs no order for this."""
        import random  # rarely needed

        return random.sample(sorted(manager_list), len(manager_list))


class BlockIdManagerSelector(ManagerSelector):
    """The oldest block first, each as far as it has room: so the others are idle, and can be given back."""

    def sort_managers(self, ready_managers: Mapping[str, Mapping[str, Any]], manager_list: set[str]) -> list[str]:
        """See the base class."""
        return sorted(manager_list, key=lambda name: (_number_of(ready_managers[name]["block_id"]), name))


def _number_of(block: Any) -> tuple[int, str]:
    text = str(block)
    return (int(text) if text.isdecimal() else 1 << 62, text)
