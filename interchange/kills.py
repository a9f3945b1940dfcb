"""Ending what runs on request: one task, or all workers."""

from __future__ import annotations

import signal
from collections.abc import Callable, Mapping
from time import monotonic

from parsl_pool.interchange import columns, launch, wire
from parsl_pool.interchange.loop import Loop
from parsl_pool.interchange.manager_core import ManagerCore
from parsl_pool.interchange.page import TASK
from parsl_pool.interchange.worker_handle import WorkerHandle

_TICK_S = 0.002


class Kills:
    """Belongs to the loop's thread, as the manager whose workers these are.

    report: where results go.
    """

    def __init__(
        self,
        loop: Loop,
        core: ManagerCore,
        workers: Mapping[int, WorkerHandle],
        host: str,
        report: Callable[[columns.Results], None],
    ) -> None:
        self._loop, self._core, self._workers, self._host, self._report = loop, core, workers, host, report

    def kill(self, record: wire.Kill) -> None:
        """End the worker that runs this task. One that has not begun is dropped, or waited for if a worker has it: on
        another host than the client's nobody can cancel it any more."""
        number = self._core.holder(record.task)
        worker = self._workers.get(number) if number is not None else None
        if worker is None:
            if self._core.remove_queued(record.task):
                facts = wire.encode(wire.Facts(["host", "reason"], [self._host, record.reason]))
                self._report(columns.result_of(record.task, record.status, facts))
        elif worker.page.words[TASK] == record.task:
            worker.verdict = (record.task, record.status, record.reason)
            worker.signal(signal.SIGKILL)
        else:
            self._loop.call_at(monotonic() + _TICK_S, lambda: self.kill(record))

    def kill_workers(self, signum: int) -> None:
        """End all workers by this signal; new ones start if there is work."""
        for worker in self._workers.values():
            worker.verdict = (worker.page.words[TASK], wire.KILLED, f"by {launch.signal_name(signum)}")
            worker.signal(signum)
