"""What a manager holds of one worker: its socket, its page, the end of its stderr, its process."""

from __future__ import annotations

import os
import select
import signal
import socket

from parsl_pool.interchange.page import Page
from parsl_pool.interchange.stream import Stream
from parsl_pool.interchange.wire import InitializerFailed

_TAIL = 4096


class WorkerHandle:
    """A worker seen from its manager. Belongs to the manager's loop."""

    __slots__ = (
        "condemned",
        "expected",
        "failure",
        "hung_up",
        "is_gone",
        "number",
        "page",
        "pid",
        "stacks",
        "stderr",
        "stream",
        "tail",
        "unreleased",
        "verdict",
    )

    def __init__(self, number: int, sock: socket.socket, page_fd: int, stderr: int, stacks: int) -> None:
        self.number = number
        self.stream = Stream(sock)
        self.page = Page(page_fd)
        self.stderr = stderr
        self.stacks = stacks  # where faulthandler writes
        self.tail = bytearray()  # the last of what it wrote to stderr
        self.pid = 0  # not started yet
        self.condemned = 0  # a signal that it is to get as soon as it has a pid
        self.expected = False  # it has been told to end
        self.failure: InitializerFailed | None = None
        self.is_gone = False
        self.hung_up = False  # its socket has ended
        self.unreleased = False  # its ring holds results that the client may not have
        self.verdict: tuple[int, int, str] | None = None  # why we ended it: task, status, reason

    def signal(self, signum: int) -> None:
        """Send a signal to the worker and all that its task started."""
        if not self.pid:
            self.condemned = signum
            return
        if self.is_gone:
            return
        try:
            os.killpg(self.pid, signum)
        except (ProcessLookupError, PermissionError):
            # Gone, or not yet the leader of its group: it calls setsid() first thing.
            try:
                os.kill(self.pid, signum)
            except ProcessLookupError:
                return

    def forward_stderr(self) -> bool:
        """Pass on what the worker wrote, and remember the end of it. False at the end of the pipe."""
        while True:
            try:
                data = os.read(self.stderr, 65536)
            except BlockingIOError:
                return True
            except OSError:
                return False
            if not data:
                return False
            self.tail += data
            del self.tail[:-_TAIL]
            forward(data)

    def close(self) -> None:
        """Let go of everything; the process is gone, and its number may be somebody else's."""
        self.is_gone = True
        self.stream.close()
        fd = self.page.fd
        self.page.close()
        for descriptor in (fd, self.stderr, self.stacks):
            os.close(descriptor)


def forward(data: bytes) -> None:
    """Write to our own stderr, but never wait for a reader: a pool must not stop because a terminal does."""
    poller = select.poll()
    poller.register(2, select.POLLOUT)
    try:
        while data and poller.poll(100):
            data = data[os.write(2, data[:512]) :]  # a pipe that polls as writable takes 512 bytes at once
    except OSError:
        return  # nobody reads it any more


def signal_name(number: int) -> str:
    """"SIGSEGV" for 11."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
