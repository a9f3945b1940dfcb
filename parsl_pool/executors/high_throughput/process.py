"""Starting the interchange process, and seeing to its end."""

from __future__ import annotations

import os
import select
import signal
from time import monotonic

from parsl_pool import portable
from parsl_pool.errors import StartError
from parsl_pool.interchange import launch, stream

_NULL = [(os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0)] if hasattr(os, "POSIX_SPAWN_OPEN") else []


class InterchangeProcess:
    """A running interchange: its process, and our end of the socket to it."""

    def __init__(self, label: str, inside: bool) -> None:
        """Start one. inside: it is to have the manager in itself.

        Raises:
            StartError: it could not be started.
        """
        ours, theirs = stream.pair()
        arguments: list[object] = [theirs.fileno(), os.getpid(), "inside" if inside else "apart"]
        try:
            self.pid = launch.spawn_helper("interchange", arguments, [theirs.fileno()])
        except OSError as problem:
            ours.close()
            command = " ".join(launch.helper_command("interchange", ["FD", "PID", arguments[2]]))
            raise StartError(label, f"cannot start the interchange by {command}: {problem}") from problem
        finally:
            theirs.close()
        self.stream = stream.Stream(ours)
        self.status: int | None = None  # as Popen.returncode, once it has been waited for

    def wait(self, timeout: float) -> bool:
        """Wait for the process's end, at most `timeout` seconds. True if it has ended."""
        end = monotonic() + timeout
        fd = _pidfd(self.pid)
        try:
            while self.status is None:
                try:
                    pid, status = os.waitpid(self.pid, os.WNOHANG)
                except ChildProcessError:
                    self.status = 0  # somebody else waited for all children
                    break
                if pid:
                    self.status = os.waitstatus_to_exitcode(status)
                    break
                left = end - monotonic()
                if left <= 0:
                    return False
                if fd is None:
                    select.select([], [], [], min(0.005, left))
                else:
                    select.select([fd], [], [], left)
        finally:
            if fd is not None:
                os.close(fd)
        return True

    def kill(self) -> None:
        """End it at once; its workers end with it."""
        if self.status is None:
            try:
                os.kill(self.pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
            self.wait(5.0)


def _pidfd(pid: int) -> int | None:
    if not portable.has(os, "pidfd_open"):
        return None
    try:
        return os.pidfd_open(pid)
    except OSError:
        return None
