"""A `HighThroughputExecutor` as the keeper of its blocks sees it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from parsl_pool.errors import described
from parsl_pool.executors.high_throughput.manager_order import RandomManagerSelector
from parsl_pool.interchange import wire
from parsl_pool.loggers import careful_logger
from parsl_pool.providers.states import JobStatus
from parsl_pool.scaling.decision import Load

log = careful_logger("parsl_pool.blocks")

_DRAINED = "its block is to end"


class ExecutorSite:
    """See `scaling.site.Site`."""

    def __init__(self, executor: Any, command: Callable[[str], str]) -> None:
        self._executor, self._link = executor, executor.link
        self.command = command

    def tasks(self) -> int:
        """How many are with the interchange, or on the way there."""
        return len(self._link.tries.table)

    def done(self) -> int:
        """How many have ended since the start."""
        return int(self._link.tries.finished)

    def slots_per_node(self) -> int:
        """How many workers a node has."""
        return int(self._executor.workers_per_node)

    def loads(self) -> Mapping[str, Load]:
        """By block. If the interchange does not answer, nothing is known of any."""
        loads: dict[str, Load] = {}
        for each in self._executor.managers.standings() or ():
            known = loads.get(each.block)
            idle_s = each.idle_ms / 1000
            if known is None:
                loads[each.block] = Load(each.held, idle_s)
            else:
                loads[each.block] = Load(known.held + each.held, min(known.idle_s or 0.0, idle_s))
        return loads

    def drain(self, block: str) -> bool:
        """See `Managers.drain_block`."""
        return bool(self._executor.managers.drain_block(block, _DRAINED))

    def block_over(self, block: str, reason: str) -> None:
        """The interchange gives its managers up."""
        self._link.send(wire.BlockOver(block, reason))

    def managers_changed(self) -> None:
        """The selector puts them into an order. What it raises is told, and leaves the order as it was."""
        selector = self._executor.manager_selector
        if selector is None or type(selector) is RandomManagerSelector:
            return  # that is what the interchange does by itself
        managers = {
            up.manager: {"block_id": up.block, "hostname": up.host, "worker_count": up.workers}
            for up in list(self._link.watcher.managers.values())
        }
        try:
            order = [str(name) for name in selector.sort_managers(managers, set(managers))]
        except Exception as problem:  # of the user's
            log.exception("pool %s: its manager_selector failed: %s", self._link.label, described(problem))
            return
        self._link.send(wire.Ranks([name for name in dict.fromkeys(order) if name in managers]))

    def wants_states(self) -> bool:
        """True if somebody keeps them."""
        return self._executor.monitoring_radio is not None

    def states_changed(self, status: Mapping[str, JobStatus]) -> None:
        """To whoever keeps them. What that raises is told, and has no effect."""
        try:
            self._executor.send_monitoring_info(status)
        except Exception as problem:  # of the user's
            log.exception("pool %s: its monitoring_radio failed: %s", self._link.label, described(problem))

    def condemn(self, task: str) -> None:
        """See `Tries.place_lost`."""
        self._link.tries.condemned.add(task)

    def give_up(self, problem: str | BaseException) -> None:
        """See `Link.give_up`."""
        self._link.give_up(problem)

    def handle_errors(self, status: Mapping[str, JobStatus]) -> None:
        """The user's own handler. What it raises is told, and has no effect."""
        try:
            self._executor.handle_errors(status)
        except Exception as problem:  # of the user's
            log.exception("pool %s: its block_error_handler failed: %s", self._link.label, described(problem))
