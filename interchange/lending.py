"""Workers in the places of those that wait for other tasks: the clock behind `ManagerCore.waits` and `trim`."""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic, monotonic_ns

from parsl_pool.interchange.loop import Loop
from parsl_pool.interchange.manager_core import EXTRA_IDLE_NS, Effect, ManagerCore


class Lending:
    """Looks about once a second while there are extra workers. Belongs to the manager's loop."""

    def __init__(self, loop: Loop, core: ManagerCore, perform: Callable[[list[Effect]], None]) -> None:
        self._loop, self._core, self._perform = loop, core, perform
        self._is_watching = False

    def waits(self, worker: int, waits: bool) -> None:
        """A worker says that its task waits, or goes on."""
        self._perform(self._core.waits(worker, waits, monotonic_ns()))
        self._watch()

    def _watch(self) -> None:
        if not self._is_watching and self._core.has_extra():
            self._is_watching = True
            self._loop.call_at(monotonic() + 1.1 * EXTRA_IDLE_NS / 1e9, self._trim)

    def _trim(self) -> None:
        self._is_watching = False
        self._perform(self._core.trim(monotonic_ns()))
        self._watch()
