"""Notices when nothing happens although tasks are under way, or the end is. Asleep else."""

from __future__ import annotations

import logging
from time import monotonic
from typing import Any

from parsl_pool.interchange import wire
from parsl_pool.loggers import careful_logger

log = careful_logger("parsl_pool.stall")

PING_S = 5.0
"""After so long without a message the interchange is asked whether it is there."""

HANG_S = 15.0
"""After so long it is taken for dead: it may be stopped, or its host may be."""

START_S = 30.0
"""The same, before its first word: Python may have to be read from a slow file system."""

END_S = 20.0
"""After so long the interchange has to have ended that was told to; workers have 5 s for their exit handlers."""

KILL_S = 5.0
"""The same, when all is to end at once."""

STALL_S = 60.0
"""After so long without a result the log gets a paragraph."""


class Watchdog:
    """Belongs to a link's I/O thread."""

    def __init__(self, link: Any) -> None:
        self._link = link
        self._heard_at = self._looked_at = monotonic()
        self._asked = False
        self._ending_at: float | None = None
        self.end_s = END_S
        self._busy_since = 0.0  # when there was something to watch again, after a while without
        self._told_at = 0.0  # from when on nothing had come back when that was last told

    def heard(self) -> None:
        """A message has come."""
        self._heard_at = monotonic()
        self._asked = False

    def silence(self) -> str:
        """What is to be said if the interchange does not answer; "" else. Any thread."""
        silent = monotonic() - self._heard_at
        if not self._asked or silent < PING_S:
            return ""
        return f"the interchange has not been heard for {silent:.0f} s; it is ended, and replaced, after {HANG_S:.0f} s"

    def bound(self, timeout: float | None) -> float:
        """How long to sleep at most."""
        pause = PING_S if self._ending_at is None else 1.0
        return pause if timeout is None else min(timeout, pause)

    def ending(self, at_once: bool) -> None:
        """The interchange is being told to end. Perhaps again, and at once."""
        self._ending_at = monotonic() + min(self.end_s, KILL_S if at_once else self.end_s)

    def look(self) -> None:
        """Called at least every PING_S while tasks are under way, or an end is."""
        now = monotonic()
        if self._ending_at is not None:
            if now > self._ending_at:
                self._ending_at = None
                self._link.interchange_hangs("has not ended in time")
            return
        idle, self._looked_at = now - self._looked_at, now
        if idle > 2 * PING_S:  # there was nothing to watch for a while, or we were stopped ourselves
            self._heard_at = self._busy_since = now
            self._asked = False
            return
        silent = now - self._heard_at
        if silent > (HANG_S if self._link.is_ready() else START_S) and self._asked:
            self._heard_at = now
            self._asked = False
            self._link.interchange_hangs(f"has not answered for {silent:.0f} s")
        elif silent > PING_S and not self._asked:
            self._asked = True
            self._link.send(wire.Ping(0))
        last = max(self._link.tries.last_result, self._link.opened_at, self._busy_since)
        if now - last > STALL_S and self._told_at != last:
            self._told_at = last
            self._tell(now - last)

    def _tell(self, seconds: float) -> None:
        text = self._link.explain()
        busy = len(self._link.claims.running())
        level = logging.INFO if busy and busy >= len(self._link.watcher.processes) else logging.WARNING
        log.log(level, "no result for %.0f s.\n%s", seconds, text)
