"""What a manager holds of one worker: its socket, its page, the end of its stderr, its process."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable

from parsl_pool.interchange import shared_memory, stream
from parsl_pool.interchange.page import HEARD, PAGE_SIZE, Page
from parsl_pool.interchange.stderr_pipe import StderrPipe
from parsl_pool.interchange.wire import InitializerFailed


class WorkerHandle:
    """A worker seen from its manager. Belongs to the manager's loop."""

    __slots__ = (
        "condemned",
        "expected",
        "failure",
        "functions",
        "heard",
        "hung_up",
        "is_gone",
        "number",
        "page",
        "pid",
        "stacks",
        "stderr",
        "stream",
        "unreleased",
        "verdict",
    )

    def __init__(self, number: int, sock: socket.socket, page_fd: int, stderr: StderrPipe, stacks: int) -> None:
        self.number = number
        self.stream = stream.Stream(sock)
        self.page = Page(page_fd)
        self.stderr = stderr
        self.stacks = stacks  # where faulthandler writes
        self.pid = 0  # not started yet
        self.condemned = 0  # a signal that it is to get as soon as it has a pid
        self.expected = False  # it has been told to end
        self.failure: InitializerFailed | None = None
        self.functions: set[int] = set()  # those that it has been sent: a task of another one has not begun
        self.heard = 0  # messages of its tasks that have come
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

    def delivered(self, messages: int) -> None:
        """The client has so many of its tasks' messages: it may send others."""
        if not self.is_gone:
            self.page.words[HEARD] = messages

    def close(self) -> None:
        """Let go of everything; the process is gone, and its number may be somebody else's."""
        self.is_gone = True
        self.stream.close()
        fd = self.page.fd
        self.page.close()
        self.stderr.close()
        os.close(fd)
        os.close(self.stacks)


def new_worker(number: int, read_stderr: Callable[[int], StderrPipe]) -> tuple[WorkerHandle, list[int]]:
    """A worker that is to be started, and the descriptors that it needs for that.

    Raises:
        OSError, MemoryError: the system has no more of something.
    """
    ours, theirs = stream.pair()
    made: list[int] = []
    pipe: StderrPipe | None = None
    try:
        made.append(page := shared_memory.create(PAGE_SIZE, "page"))
        made.append(stacks := shared_memory.create(0, "stacks"))
        made.append(os.dup(page))
        made.append(os.dup(stacks))
        read, write = os.pipe()
        made.append(write)
        pipe = read_stderr(read)
        return WorkerHandle(number, ours, page, pipe, stacks), [theirs.detach(), made[2], write, made[3]]
    except BaseException:  # passed on; what was made so far must not stay open
        for end in (ours, theirs):
            end.close()
        for fd in made:
            os.close(fd)
        if pipe is not None:
            pipe.close()
        raise
