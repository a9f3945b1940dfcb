"""Ends whoever takes too long: a task its walltime, a worker or fork server that is needed and has been stopped, a
worker that has tasks and does nothing, since a task of its has read or written what was its own.
"""

from __future__ import annotations

import signal
from collections.abc import Callable
from time import monotonic, monotonic_ns

from parsl_pool.interchange import launch, wire
from parsl_pool.interchange.fork_server_handle import ForkServerHandle
from parsl_pool.interchange.loop import Loop
from parsl_pool.interchange.manager_core import ManagerCore
from parsl_pool.interchange.page import SINCE, STARTED, STRONG_ORDER, TASK, settle
from parsl_pool.interchange.stopped import STOPPED_S, Patience
from parsl_pool.interchange.worker_handle import WorkerHandle

_LOOK_S = 1.0
_SILENT_LOOKS = 10  # rather than a time: it might be us who were stopped


class Overdue:
    """Looks at the workers of one manager while any of them has to do. Belongs to the manager's loop."""

    def __init__(
        self,
        loop: Loop,
        core: ManagerCore,
        workers: dict[int, WorkerHandle],
        fork_server: ForkServerHandle,
        warn: Callable[[str], None],
        read: Callable[[WorkerHandle], None],
    ) -> None:
        self._loop, self._core, self._workers, self._fork_server = loop, core, workers, fork_server
        self._warn = warn
        self._read = read  # takes the results from a worker's page
        self._patience = Patience()
        self._silent: dict[int, tuple[tuple[int, ...], int]] = {}  # worker -> how it is, and for how many looks
        self._watching = False

    def watch_walltime(self, number: int, task: int, limit_ms: int) -> None:
        """End the worker if it is at this task for longer than that, whatever the task does."""
        worker = self._workers.get(number)
        if worker is None or self._core.holder(task) != number:
            return
        left_ms = float(limit_ms)
        if worker.page.words[TASK] == task:
            if not STRONG_ORDER:
                settle()  # the look at SINCE must not come before the one at TASK
            left_ms -= (monotonic_ns() - worker.page.words[SINCE]) / 1e6
        if left_ms <= 0:
            worker.verdict = (task, wire.TIMED_OUT, f"ran longer than its walltime of {limit_ms / 1000:g} s")
            worker.signal(signal.SIGKILL)
        else:
            self._loop.call_at(
                monotonic() + left_ms / 1000, lambda: self.watch_walltime(number, task, limit_ms)
            )

    def watch_needed(self) -> None:
        """Somebody is needed: look about once a second, as long as that is so, who does nothing."""
        if not self._watching:
            self._watching = True
            self._loop.call_at(monotonic() + _LOOK_S, self._look)

    def _look(self) -> None:
        """Whoever is needed, and has been stopped (SIGSTOP) or silent for long, counts as lost."""
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
        for worker in self._silent_workers():
            self._warn(f"worker {worker.number} has tasks, and does nothing; ending it")
            worker.signal(signal.SIGKILL)
        if needed:
            self.watch_needed()

    def _silent_workers(self) -> list[WorkerHandle]:
        """Those that have tasks but are at none, or whose question for a function has not come, and that for ten looks.

        A task can do that to its worker, when it writes into the socket to us, or takes from it what is not its own.
        The task that runs after it is not to pay for that, and goes on to its end.
        """
        before, self._silent = self._silent, {}
        found = []
        for number, seat in list(self._core.seats.items()):  # what is read may end in another worker's start
            worker = self._workers.get(number)
            if worker is None or not seat.held or worker.hung_up:
                continue
            words, half = worker.page.words, worker.stream.bytes_of_half_a_frame
            if words[TASK] and (not half or self._core.function_of(number, words[TASK]) in worker.functions):
                if half and STRONG_ORDER:
                    self._read(worker)  # what was done before it has been announced in vain
                continue
            # Large arguments may be on their way to it for long: what waits to be sent shrinks meanwhile.
            state = (next(iter(seat.held)), words[STARTED], words[TASK], half, worker.stream.bytes_waiting)
            known, looks = before.get(number, (state, 0))
            looks = looks + 1 if known == state else 1
            self._silent[number] = (state, looks)
            if looks > _SILENT_LOOKS:
                worker.verdict = (words[TASK] or state[0], wire.LOST, "what it has for its manager does not arrive")
                found.append(worker)
        return found

    def waits_for_function(self, worker: WorkerHandle, task: int) -> bool:
        """True if it stands at this task, and has not begun it: it has never been sent the function.

        Another task may have swallowed its question, by half a frame that it wrote to us.
        """
        if worker.verdict is not None and worker.verdict[0] == task and worker.verdict[1] != wire.LOST:
            return False  # the user's own will
        function = self._core.function_of(worker.number, task)
        return function is not None and function not in worker.functions

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
