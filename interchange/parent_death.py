"""Ending with the parent, also when it is killed.

Every child of ours watches a socket or pipe for its end, which works everywhere but only while the child runs
Python. Linux can in addition send a signal at the moment the parent ends, which also stops C code.
"""

from __future__ import annotations

import os
import select
import signal
from struct import Struct
from time import monotonic

from parsl_pool import portable

_PR_SET_PDEATHSIG = 1  # prctl(2)
_NUMBER = Struct("i")
_MOST_DESCRIPTORS = 4096  # a fork server has a handful, from the first numbers
_PATIENCE_S = 5.0  # for a fork server whose manager has ended, and its exit handlers


def end_with_parent(parent: int) -> None:
    """Have the kernel kill this process when `parent` ends, where the kernel can.

    The signal follows the parent's *thread*: call it only in children of a main thread.
    """
    if portable.is_linux():
        try:
            import ctypes  # Linux only, and optional in some Python builds

            ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        except (ImportError, OSError, AttributeError):
            return  # the watched socket does it, a little later
    if os.getppid() != parent:  # it ended before we asked
        os._exit(1)


class Guardian:
    """A small process that ends workers when the fork server has ended, where the kernel does not do that.

        fork server ==pipe: a worker's process id, or minus that==> guardian: at the end of the pipe, kills who is left
        manager ==pipe: nothing ever==> guardian: a while after its end, kills the fork server, if that is still there

    A worker has one thread: at a long task it can't look whether its fork server is there; and a fork server that has
    been stopped (SIGSTOP) can't look whether its manager is. All that may kill the fork server together with its
    manager (the end of a job, say) has to leave this one: it is in a session of its own.
    """

    def __init__(self, life: int = -1) -> None:
        """In the fork server, before its first worker. life: a pipe that ends with the manager; it is closed here."""
        self._write = -1
        if portable.is_linux():
            return
        read, self._write = os.pipe()
        server = os.getpid()
        try:
            between = os.fork()
        except OSError:
            between = -1  # no more processes: it must do without
        if between:
            os.close(read)
            if life >= 0:
                os.close(life)
            if between > 0:
                try:
                    os.waitpid(between, 0)
                except ChildProcessError:
                    pass  # SIGCHLD is ignored: nobody has to wait
            return
        try:
            os.setsid()
            if os.fork() == 0:  # no child of the fork server's, which waits for all it has
                _guard(read, life, server)
        finally:
            os._exit(0)

    def watch(self, pid: int) -> None:
        """This worker has been started."""
        self._say(pid)

    def forget(self, pid: int) -> None:
        """It has ended."""
        self._say(-pid)

    def _say(self, number: int) -> None:
        if self._write >= 0:
            try:
                os.write(self._write, _NUMBER.pack(number))
            except OSError:
                self.leave()  # somebody has killed it: then it must do without

    def leave(self) -> None:
        """In a worker: whoever holds the pipe open would count as the fork server."""
        if self._write >= 0:
            os.close(self._write)
            self._write = -1


def _guard(read: int, life: int, server: int) -> None:
    low = 0
    for kept in sorted({read, life, _MOST_DESCRIPTORS} - {-1}):
        os.closerange(low, kept)
        low = kept + 1
    workers: set[int] = set()
    _watch(read, life, server, workers)
    for pid in workers:
        try:
            os.killpg(pid, signal.SIGKILL)
        except OSError:
            continue  # it has ended


def _watch(read: int, life: int, server: int, workers: set[int]) -> None:
    """Keep account of the workers until the fork server has ended; see to it that it does."""
    poller = select.poll()
    for fd in (read, life):
        if fd >= 0:
            poller.register(fd, select.POLLIN)
    deadline: float | None = None  # once the manager has ended
    data = b""
    while True:
        left_ms = None if deadline is None else max(0.0, 1000 * (deadline - monotonic()))
        ready = [fd for fd, _ in poller.poll(left_ms)]
        if life in ready:
            poller.unregister(life)
            deadline = monotonic() + _PATIENCE_S
        if deadline is not None and monotonic() >= deadline:
            deadline = None
            try:
                os.kill(server, signal.SIGKILL)  # the number is still its own: it holds the other end of `read`
            except ProcessLookupError:
                pass  # that has just ended, too
        if read in ready:
            more = os.read(read, 4096)
            if not more:
                return
            data += more
            whole = len(data) - len(data) % _NUMBER.size
            for (number,) in _NUMBER.iter_unpack(data[:whole]):
                workers.add(number) if number > 0 else workers.discard(-number)
            data = data[whole:]
