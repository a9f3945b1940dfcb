"""A worker that says in a file of its own what it does, for `worker_debug`: the tasks that come, and how each ends."""

from __future__ import annotations

import os
import socket
import sys
from struct import unpack_from
from time import monotonic_ns
from typing import Any

from parsl_pool.interchange import columns, log_file, serialize, wire
from parsl_pool.interchange.page import SINCE
from parsl_pool.interchange.worker import Setup, Worker

_SHOWN = 20  # tasks of a batch
_ENDS = {
    wire.OK: "ok", wire.RAISED: "raised", wire.CANCELLED: "was cancelled", wire.SKIPPED: "goes to another worker",
    wire.UNREADABLE: "has arguments that can't be read", wire.UNSENDABLE: "has a result that can't be sent",
}  # fmt: skip


class LoggedWorker(Worker):
    """Slower than a worker by two system calls for each task."""

    def __init__(self, sock: socket.socket, page_fd: int, setup: Setup, rank: int = 0) -> None:
        super().__init__(sock, page_fd, setup, rank)
        self._who = f"worker-{rank}[{os.getpid()}]"
        path = os.path.join(setup.log_dir, f"worker-{rank}.log")
        log_file.make_private(setup.log_dir)
        self._log = log_file.LogFile(path, lambda text: print(f"parsl_pool {self._who} {text}", file=sys.stderr))

    def run(self) -> None:
        """See Worker."""
        self._say("begun")
        super().run()
        self._say("ending")

    def _say(self, text: str) -> None:
        self._log.line(f"{log_file.now()} DEBUG {self._who} {text}")

    def _run_batch(self, body: bytes, descriptors: list[int]) -> None:
        _, _, count = columns.TASKS_HEAD.unpack_from(body)
        numbers = unpack_from(f"<{count}Q{count}I", body, 12)
        shown = ", ".join(f"{task} (function {numbers[count + i]})" for i, task in enumerate(numbers[:count][:_SHOWN]))
        self._say(f"gets {count} tasks: {shown}{', ...' * (count > _SHOWN)}")
        super()._run_batch(body, descriptors)

    def _put(self, task: int, status: int, result: Any) -> None:
        took = (monotonic_ns() - self._words[SINCE]) / 1e6
        self._say(f"task {task} {_ENDS.get(status, status)}, {serialize.size_of(result)} bytes, after {took:.3f} ms")
        super()._put(task, status, result)
