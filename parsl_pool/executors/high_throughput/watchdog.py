"""Notices when nothing happens although tasks are under way. Asleep while there are none."""

from __future__ import annotations

import logging
from time import monotonic
from typing import Any

from parsl_pool.interchange import wire

log = logging.getLogger("parsl_pool.stall")

PING_S = 5.0
"""After so long without a message the interchange is asked whether it is there."""

HANG_S = 15.0
"""After so long it is taken for dead: it may be stopped, or its host may be."""

STALL_S = 60.0
"""After so long without a result the log gets a paragraph."""


class Watchdog:
    """Belongs to a link's I/O thread."""

    def __init__(self, link: Any) -> None:
        self._link = link
        self._heard_at = self._looked_at = monotonic()
        self._asked = False
        self._told_at = 0.0  # the time of the last result when a stall was last told of

    def heard(self) -> None:
        """A message has come."""
        self._heard_at = monotonic()
        self._asked = False

    def bound(self, timeout: float | None) -> float:
        """How long to sleep at most."""
        return PING_S if timeout is None else min(timeout, PING_S)

    def look(self) -> None:
        """Called at least every PING_S while tasks are under way."""
        now = monotonic()
        idle, self._looked_at = now - self._looked_at, now
        if idle > 2 * PING_S:  # there was nothing to watch for a while, or we were stopped ourselves
            self._heard_at = now
            self._asked = False
            return
        silent = now - self._heard_at
        if silent > HANG_S and self._asked:
            self._heard_at = now
            self._asked = False
            self._link.interchange_hangs(silent)
        elif silent > PING_S and not self._asked:
            self._asked = True
            self._link.send(wire.Ping(0))
        last = max(self._link.tries.last_result, self._link.opened_at)
        if now - last > STALL_S and self._told_at != last:
            self._told_at = last
            self._tell()

    def _tell(self) -> None:
        text = self._link.explain()
        busy = len(self._link.running_tasks())
        level = logging.INFO if busy and busy >= len(self._link.watcher.processes) else logging.WARNING
        log.log(level, "no result for %.0f s.\n%s", STALL_S, text)
