"""The managers of one executor, as its client knows them: how each stands, and what it has been told."""

from __future__ import annotations

import threading
from typing import Any

from parsl_pool import checks
from parsl_pool.errors import BadMessage
from parsl_pool.interchange import standing, wire
from parsl_pool.interchange.standing import Standing
from parsl_pool.loggers import careful_logger

log = careful_logger("parsl_pool.interchange")

_SOME = 5


class Managers:
    """Asks the interchange, and tells managers through it. Any thread, except where something else is said.

    What a manager has been told it is told again when it registers anew: it may be with another interchange.
    """

    def __init__(self, link: Any) -> None:
        self._link = link
        self._lock = threading.Lock()  # guards _held and _drained
        self._held: set[str] = set()  # managers that are to get no more tasks
        self._drained: dict[str, str] = {}  # blocks whose managers are to finish and to end, and why
        link.watcher.on_manager = self._came

    def standings(self) -> list[Standing] | None:
        """How each stands now; None if the interchange does not answer, or there is none."""
        return self.ask()[0]

    def ask(self) -> tuple[list[Standing] | None, int]:
        """The same, and how many messages the interchange has dropped."""
        state = self._link.ask()
        if state is None:
            return None, 0
        found = []
        for line in state.managers:
            try:
                found.append(standing.read(line))
            except BadMessage as problem:
                log.error("pool %s: %s", self._link.label, problem)
        return found, state.dropped_frames

    def hold(self, manager: str) -> None:
        """Give it no more tasks; it stays, and finishes those that it has. Raises ConfigurationError."""
        known = [each.manager for each in self.standings() or ()]
        checks.reject_unknown([manager], known, "manager")
        with self._lock:
            self._held.add(manager)
        self._link.send(wire.Hold(manager))

    def drain_block(self, block: str, reason: str) -> list[str]:
        """Have the managers of a block, and those that are still to come, take no more tasks, finish what they have
        begun, and end. Returns the names of those that are there."""
        with self._lock:
            self._drained[block] = reason
        names = [up.manager for up in list(self._link.watcher.managers.values()) if up.block == block]
        for name in names:
            self._link.send(wire.Drain(name, reason))
        return names

    def explain(self) -> list[str]:
        """Who is there, and who of them gets no more tasks. Asks nobody."""
        watcher = self._link.watcher
        managers = list(watcher.managers.values())
        draining = dict(watcher.draining)
        with self._lock:
            held = set(self._held)
        lines = [f"refused: {text}" for text in list(watcher.refused)]
        if managers:
            blocks = list(dict.fromkeys(up.block for up in managers))
            named = ", ".join(blocks[:_SOME]) + ", ..." * (len(blocks) > _SOME)
            lines.append(f"{len(managers)} managers have registered, of blocks {named}")
        closed = [up for up in managers if up.manager in held or up.manager in draining]
        for up in closed[:_SOME]:
            why = draining.get(up.manager)
            what = "gets no more tasks (hold_worker)" if why is None else f"ends when it has finished: {why}"
            lines.append(f"manager {up.manager} on {up.host}, of block {up.block}, {what}")
        if len(closed) > _SOME:
            lines.append(f"{len(closed) - _SOME} more managers take no tasks")
        if managers and len(closed) == len(managers):
            lines.append("so nobody takes tasks")
        return lines

    def _came(self, record: wire.ManagerUp) -> None:
        """It has registered, perhaps again. I/O thread."""
        with self._lock:
            is_held, reason = record.manager in self._held, self._drained.get(record.block)
        if is_held:
            self._link.send(wire.Hold(record.manager))
        if reason is not None:
            self._link.send(wire.Drain(record.manager, reason))

    def disown(self) -> None:
        """In a forked child: another thread may have held the lock."""
        self._lock = threading.Lock()


def described(standings: list[Standing]) -> list[dict[str, Any]]:
    """As `connected_managers` gives them: first what Parsl has, by both names where it has two."""
    return [
        {
            "manager": each.manager,
            "block_id": each.block,
            "worker_count": each.workers,
            "tasks": each.held,
            "idle_duration": each.idle_ms / 1000,
            "idle_durations": each.idle_ms / 1000,
            "active": bool(each.takes_tasks),
            "draining": bool(each.is_draining),
            "hostname": each.host,
            "pid": each.pid,
            "window": each.window,
            "python_version": each.python,
            "package_version": each.version,
        }
        for each in standings
    ]
