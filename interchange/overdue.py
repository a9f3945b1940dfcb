"""Ends whoever takes too long: a task its walltime, a worker or fork server that has been stopped and is needed."""

from __future__ import annotations

import signal
from collections.abc import Callable
from time import monotonic, monotonic_ns

from parsl_pool.interchange import launch, wire
from parsl_pool.interchange.fork_server_handle import ForkServerHandle
from parsl_pool.interchange.loop import Loop
from parsl_pool.interchange.manager_core import ManagerCore
from parsl_pool.interchange.page import SINCE, TASK
from parsl_pool.interchange.stopped import STOPPED_S, Patience
from parsl_pool.interchange.worker_handle import WorkerHandle

_LOOK_S = 1.0


class Overdue:
    """Looks at the workers of one manager while any of them has to do. Belongs to the manager's loop."""

    def __init__(
        self,
        loop: Loop,
        core: ManagerCore,
        workers: dict[int, WorkerHandle],
        fork_server: ForkServerHandle,
        warn: Callable[[str], None],
    ) -> None:
        self._loop, self._core, self._workers, self._fork_server = loop, core, workers, fork_server
        self._warn = warn
        self._patience = Patience()
        self._watching = False

    def watch_walltime(self, number: int, task: int, limit_ms: int) -> None:
        """End the worker if it is at this task for longer than that, whatever the task does."""
        worker = self._workers.get(number)
        if worker is None or self._core.holder(task) != number:
            return
        left_ms = float(limit_ms)
        if worker.page.words[TASK] == task:
            left_ms -= (monotonic_ns() - worker.page.words[SINCE]) / 1e6
        if left_ms <= 0:
            worker.verdict = (task, wire.TIMED_OUT, f"it ran longer than its walltime of {limit_ms / 1000:g} s")
            worker.signal(signal.SIGKILL)
        else:
            self._loop.call_at(
                monotonic() + left_ms / 1000, lambda: self.watch_walltime(number, task, limit_ms)
            )

    def watch_stopped(self) -> None:
        """Somebody is needed: look about once a second, as long as that is so, who has been stopped (SIGSTOP)."""
        if not self._watching:
            self._watching = True
            self._loop.call_at(monotonic() + _LOOK_S, self._look_for_stopped)

    def _look_for_stopped(self) -> None:
        """Whoever is needed and has been stopped for long counts as lost."""
        self._watching = False
        needed = self._needed()
        for pid in self._patience.exhausted(needed):
            worker = needed[pid]
            if worker is None:
                self._warn("the fork server has been stopped; ending it")
                launch.kill(pid)
            else:
                reason = f"it had been stopped (SIGSTOP) for {STOPPED_S:.0f} s"
                worker.verdict = (worker.page.words[TASK], wire.LOST, reason)
                worker.signal(signal.SIGKILL)
        if needed:
            self.watch_stopped()

    def _needed(self) -> dict[int, WorkerHandle | None]:
        """Process ids of the workers that have tasks, and of the fork server (None) if it owes us an answer."""
        needed: dict[int, WorkerHandle | None] = {}
        for number, seat in self._core.seats.items():
            worker = self._workers.get(number)
            if worker is not None and seat.held:
                needed[worker.pid] = worker
            if worker is not None and (worker.hung_up or not worker.pid):
                needed[self._fork_server.pid] = None  # it has to tell of a start, or an end
        return needed
