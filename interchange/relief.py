"""What waits in one manager behind long tasks goes back, for others may be free: the clock of `ManagerCore.relieve`."""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic

from parsl_pool.interchange.holdings import RELIEVE_NS
from parsl_pool.interchange.loop import Loop
from parsl_pool.interchange.manager_core import ManagerCore


class Relief:
    """Looks now and then while tasks wait here. Belongs to the manager's loop."""

    def __init__(self, loop: Loop, core: ManagerCore, relieve: Callable[[], None]) -> None:
        self._loop, self._core, self._relieve = loop, core, relieve
        self._is_watching = False

    def watch(self) -> None:
        """Tasks have come."""
        if not self._is_watching and self._core.queue:
            self._is_watching = True
            self._loop.call_at(monotonic() + RELIEVE_NS / 1e9, self._look)

    def _look(self) -> None:
        self._is_watching = False
        self._relieve()
        self.watch()
