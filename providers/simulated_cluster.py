"""The program that plays a made-up cluster, as `SimulatedProvider` sees it: started if needed, told of jobs, ended."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from typing import Any

_END_S = 10.0


class ClusterProgram:
    """One process that plays some of the nodes. Any thread may use it.

    Args:
        path: of its files, without their suffixes.
        how: what it is told first: `nodes`, `speed` and `task_s`.
    """

    def __init__(self, path: str, how: dict[str, Any]) -> None:
        self._path, self._how = path, how
        self._lock = threading.Lock()  # guards _process
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def stderr_path(self) -> str:
        """What it writes to stderr."""
        return f"{self._path}.err"

    def say(self, record: dict[str, Any]) -> None:
        """Tell it of a job, or that one is cancelled; it is started if it does not run. Raises OSError."""
        with self._lock:
            process = self._process
        if process is None:
            process = self._start()
        assert process.stdin is not None
        process.stdin.write(json.dumps(record).encode() + b"\n")
        process.stdin.flush()

    def _start(self) -> subprocess.Popen[bytes]:
        with open(self.stderr_path, "ab") as stderr:
            process = subprocess.Popen(
                [sys.executable, "-m", "parsl_pool.simulation.cluster", f"{self._path}.json"],
                stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=stderr, start_new_session=True,
                env={**os.environ, "PYTHONPATH": os.pathsep.join(entry for entry in sys.path if entry)},
            )  # fmt: skip
        assert process.stdin is not None
        process.stdin.write(json.dumps(self._how).encode() + b"\n")
        with self._lock:
            if self._process is None:
                self._process = process
                return process
            first = self._process
        _end(process)  # two threads have come at once
        return first

    def states(self) -> dict[str, tuple[str, str, int | None]]:
        """State, message and exit code of its jobs, as it has told last."""
        try:
            with open(f"{self._path}.json") as file:
                states: dict[str, tuple[str, str, int | None]] = json.load(file)
                return states
        except (OSError, ValueError):  # it has told nothing yet
            return {}

    def has_died(self) -> bool:
        """True if it has ended, and nobody has told it to."""
        with self._lock:
            return self._process is not None and self._process.poll() is not None

    def end(self) -> None:
        """Its jobs are over: end it, if it runs. It can be started again."""
        with self._lock:
            process, self._process = self._process, None
        if process is None:
            return
        _end(process)
        try:
            os.unlink(f"{self._path}.json")
        except OSError:
            pass


def _end(process: subprocess.Popen[bytes]) -> None:
    assert process.stdin is not None
    try:
        process.stdin.close()
    except OSError:
        pass  # it has ended already
    try:
        process.wait(_END_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
