"""What a manager holds of its fork server: the socket to it, its stderr, its process."""

from __future__ import annotations

import os
from collections.abc import Callable

from parsl_pool import portable
from parsl_pool.errors import BadMessage
from parsl_pool.interchange import launch, stream, wire
from parsl_pool.interchange.loop import Loop
from parsl_pool.interchange.stderr_pipe import StderrPipe


class ForkServerHandle:
    """The fork server seen from its manager. Belongs to the manager's loop.

    on_end is told what was wrong with a message, "" if the fork server has just ended.
    """

    def __init__(
        self,
        loop: Loop,
        settings: wire.Settings,
        descriptors: list[int],
        on_record: Callable[[wire.Record], None],
        on_end: Callable[[str], None],
        keep: Callable[[str, bytes], None],
    ) -> None:
        self._loop, self._settings, self._descriptors = loop, settings, descriptors
        self._on_record, self._on_end, self._keep = on_record, on_end, keep
        self.pid = 0
        self._status: int | None = None  # once it has been waited for
        self.deaths = 0  # in a row, without a worker having become ready
        self.last_words = ""  # of the last one that has ended
        self._life = -1  # a pipe that ends with this process: see Guardian

    def use(self, helper: launch.Helper) -> None:
        """This is the fork server from now on. It gets the settings, and copies of what they need."""
        self.pid, self._status = helper.pid, None
        self._stream = stream.Stream(helper.sock)
        who = f"fork server, process {helper.pid}"
        self._stderr = StderrPipe(self._loop, helper.stderr, lambda data: self._keep(who, data))
        self._loop.add_reader(helper.sock.fileno(), self._receive)
        copies = [os.dup(fd) for fd in self._descriptors]
        if not portable.is_linux():
            read, self._life = os.pipe()
            copies.append(read)
        self._put(wire.frame(self._settings, len(copies)), copies)

    def start(self, worker: int, cores: list[int], variables: list[str], descriptors: list[int]) -> None:
        """Have it fork a worker that gets these descriptors: its socket, its page, its stderr, its stacks.

        cores, variables: see `wire.Spawn`.
        """
        self._put(wire.frame(wire.Spawn(worker, cores, variables), len(descriptors)), descriptors)

    def end(self, patience_s: float) -> int:
        """Have done with it; it ends with its socket, or is killed after that time. Returns its status."""
        if self._status is None:
            self._loop.remove(self._stream.fileno())
            self._stream.close()
            if self._life >= 0:
                os.close(self._life)
                self._life = -1
            self._status = launch.wait(self.pid, patience_s, self._stderr.drain)  # exit handlers may have much to say
            self._stderr.drain()
            self.last_words = self._stderr.tail()
            self._stderr.close()
        return self._status

    def _put(self, frame: bytes, descriptors: list[int]) -> None:
        self._stream.put(frame, descriptors)
        self._flush()

    def _flush(self) -> None:
        try:
            done = self._stream.flush()
        except stream.PeerGone:
            return  # its end is read, and handled, where we read
        fd = self._stream.fileno()
        self._loop.want_write(fd, None if done else self._flush)

    def _receive(self) -> None:
        try:
            for kind, body, descriptors in self._stream.receive():
                for fd in descriptors:
                    os.close(fd)
                self._on_record(wire.decode(kind, body))
        except stream.PeerGone:
            self._on_end("")
        except BadMessage as problem:  # `preload` wrote into our socket: the bookkeeping may be off from here on
            launch.kill(self.pid)
            self._on_end(str(problem))
