"""The workers, as handles that look like `multiprocessing` processes: what programs read from `_processes`."""

from __future__ import annotations

import os
import signal
import threading
from collections import deque
from collections.abc import Callable
from itertools import count
from time import monotonic, sleep

from parsl_pool.interchange import wire

_START_S = 10.0
_LEAVE_S = 2.0
_LOOK_S = 0.001
_REFUSED = 3
_NO_PID = 1 << 32


class WorkerProcess:
    """One worker process, perhaps on another host.

    Attributes:
        pid: its process id there.
        host: where it runs.
        exitcode: None while it runs, then as from `multiprocessing.Process.exitcode`.
    """

    def __init__(self, record: wire.WorkerUp, is_here: bool) -> None:
        self.pid, self.host, self._is_here = record.pid, record.host, is_here
        self.name = f"worker {record.worker} of manager {record.manager}"
        self.exitcode: int | None = None
        self._gone = threading.Event()

    def is_alive(self) -> bool:
        """True until its end has been noticed."""
        return self.exitcode is None

    def terminate(self) -> None:
        """Send SIGTERM."""
        self._signal(signal.SIGTERM)

    def kill(self) -> None:
        """Send SIGKILL."""
        self._signal(signal.SIGKILL)

    def join(self, timeout: float | None = None) -> None:
        """Wait for its end."""
        self._gone.wait(timeout)

    def _signal(self, signum: int) -> None:
        if self.exitcode is None and self._is_here:
            try:
                os.kill(self.pid, signum)
            except ProcessLookupError:
                return

    def ended(self, status: int) -> None:
        """Its end has been noticed."""
        self.exitcode = status
        self._gone.set()

    def __repr__(self) -> str:
        state = "running" if self.exitcode is None else f"ended with {self.exitcode}"
        return f"<{self.name}, pid {self.pid} on {self.host}, {state}>"


class Workers:
    """The live workers of one executor. Written by the I/O thread only; readers see whole entries."""

    def __init__(self) -> None:
        # By process id; those of other places, where a number may mean another process, by numbers that are none.
        self.processes: dict[int, WorkerProcess] = {}
        self._others = count(_NO_PID)
        self._by_name: dict[tuple[str, int], tuple[int, WorkerProcess]] = {}
        self.managers: dict[str, wire.ManagerUp] = {}
        self.draining: dict[str, str] = {}  # managers that are about to end, and why
        self.has_had_managers = False
        self.refused: deque[str] = deque(maxlen=_REFUSED)  # the last ones that wanted to be managers, and why not
        self.on_manager: Callable[[wire.ManagerUp], None] = lambda record: None
        self.started = 0
        self.lost = 0
        self.first = threading.Event()  # set when there is, or was, a worker

    def worker_up(self, record: wire.WorkerUp) -> None:
        """A worker runs."""
        up = self.managers.get(record.manager)
        is_here = up is None or bool(up.shares)  # one inside has not come by a connection
        key = record.pid if is_here else next(self._others)
        process = self.processes[key] = WorkerProcess(record, is_here)
        self._by_name[record.manager, record.worker] = key, process
        self.started += 1
        self.first.set()

    def worker_gone(self, record: wire.WorkerGone) -> None:
        """A worker has ended."""
        key, process = self._by_name.pop((record.manager, record.worker), (0, None))
        if process is not None:
            self.processes.pop(key, None)
            process.ended(record.status)
            self.lost += not record.expected

    def await_start(self, wanted: Callable[[], int]) -> None:
        """Wait until so many have been up, for a while: programs look just after the start."""
        end = monotonic() + _START_S
        while self.started < wanted() and monotonic() < end:
            sleep(_LOOK_S)

    def await_leaving(self, most: int) -> None:
        """Wait until those beyond so many have ended, for a while: a successor is up before who makes room for it."""
        end = monotonic() + _LEAVE_S
        while len(self.processes) > most and monotonic() < end:
            sleep(_LOOK_S)

    def other(self, record: wire.Record) -> None:
        """News of managers."""
        if isinstance(record, wire.Draining):
            self.draining[record.manager] = record.reason
        elif isinstance(record, wire.ManagerUp):
            self.managers[record.manager] = record
            self.has_had_managers = True
            self.on_manager(record)
        elif isinstance(record, wire.ManagerGone):
            self.managers.pop(record.manager, None)
            self.draining.pop(record.manager, None)
            for manager, worker in list(self._by_name):
                if manager == record.manager:  # they end with it, and it can't say so
                    self.worker_gone(wire.WorkerGone(manager, worker, -signal.SIGKILL, 0))
