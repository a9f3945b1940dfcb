"""Starting the interchange process, and seeing to its end."""

from __future__ import annotations

import os
import select
import shlex
import signal
from time import monotonic

from parsl_pool import portable
from parsl_pool.errors import StartError
from parsl_pool.interchange import launch, shared_memory, shortage, stream, wire
from parsl_pool.interchange.standard_streams import copy_of_stderr
from parsl_pool.loggers import careful_logger

log = careful_logger("parsl_pool.interchange")

_LAST_WORDS = 2000  # bytes


class InterchangeProcess:
    """A running interchange: its process, and our end of the socket to it."""

    def __init__(self, label: str, inside: bool, around: list[str] | None = None) -> None:
        """Start one. inside: it is to have the manager in itself. around: see `launch.spawn_helper`.

        Raises:
            StartError: it could not be started.
        """
        self.is_ready = False  # it has said so
        self.was_killed = False  # by us
        self.status: int | None = None  # as Popen.returncode, once it has been waited for
        self.command = ""
        self._around = around
        self._words = -1
        try:
            self._words = shared_memory.create(0, "words")
            ours, theirs = stream.pair()
        except OSError as problem:
            self.close_words()
            raise StartError(label, f"cannot start the interchange: {shortage.describe(problem)}") from problem
        stderr = copy_of_stderr()
        try:
            self._start(theirs.fileno(), "inside" if inside else "apart", stderr)
        except OSError as problem:
            ours.close()
            self.close_words()
            reason = f"cannot start the interchange: {shortage.describe(problem)}"
            if self.command:
                reason += f"\ncommand: {self.command}"
            raise StartError(label, reason) from problem
        finally:
            theirs.close()
            if stderr >= 0:
                os.close(stderr)
        self.stream = stream.Stream(ours)

    def _start(self, theirs: int, arrangement: str, stderr: int) -> None:
        descriptors = [fd for fd in (theirs, self._words, stderr) if fd >= 0]
        arguments: list[object] = [theirs, os.getpid(), arrangement, self._words, stderr]
        self.command = shlex.join(launch.inside_of(self._around, launch.helper_command("interchange", arguments)))
        log.info("the interchange's command is %s", self.command)
        self.pid = launch.spawn_helper("interchange", arguments, descriptors, self._words, self._around)

    def greet(self, hello: wire.Hello, settings: wire.Settings, descriptors: list[int]) -> None:
        """Tell it what it is to be; the descriptors are closed once they are sent."""
        self.stream.put(wire.frame(hello))
        self.stream.put(wire.frame(settings, len(descriptors)), descriptors)
        try:
            self.stream.flush()  # now: should we be killed next, it knows of the run directory, and removes it
        except stream.PeerGone:
            pass  # its end is read, and handled, where the client reads

    def last_words(self) -> str:
        """What it said on stderr before it could start, or the error that ended it; "" if that is not known."""
        if self._words < 0:
            return ""
        size = os.fstat(self._words).st_size
        return os.pread(self._words, _LAST_WORDS, max(0, size - _LAST_WORDS)).decode(errors="replace").strip()

    def close_words(self) -> None:
        """Nobody will ask any more."""
        fd, self._words = self._words, -1
        if fd >= 0:
            os.close(fd)

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
            self.was_killed = True
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
