"""What is to go to the interchange, and in which order: messages, then the tasks that may be sent now."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

from parsl_pool.executors.high_throughput.large_arguments import LargeLine
from parsl_pool.executors.high_throughput.recovery import Resent
from parsl_pool.executors.high_throughput.tries import frames_of
from parsl_pool.interchange import stream, wire


class Outgoing:
    """The way out of a link. Its I/O thread sends; any thread may add to `control`, the link's outbox beside it."""

    def __init__(self, link: Any) -> None:
        self._link = link
        self.control: deque[tuple[bytes, list[int] | None]] = deque()
        self.large = LargeLine(link.tries.warm)
        self.resent = Resent()
        self.sends_singly = False  # once a task has had a priority, a walltime or a request
        self.awaiting_functions: Callable[[], set[int]] = set
        """The functions of tasks that are not here yet: they wait for others."""

    def send(self, out: stream.Stream) -> None:
        """Put all that may go into the stream."""
        link = self._link
        outbox = link.outbox
        waiting = len(outbox)
        batch = [outbox.popleft() for _ in range(waiting)]
        if self.resent:
            batch = self.resent.once(batch)
        batch = self.large.admit(batch)
        # Taken after the batch: a function is queued before the first task that names it.
        while self.control:
            out.put(*self.control.popleft())
        if batch:
            link.claims.forget([future._tid for future in batch if future._data is None])  # cancelled: none will see it
            if link.functions.is_full():
                self._prune(out)
            for frame, descriptors in frames_of(batch, self.sends_singly):
                out.put(frame, descriptors)

    def _prune(self, out: stream.Stream) -> None:
        link = self._link
        # Those that wait first: one that stops to wait meanwhile is in the table by then.
        used = self.awaiting_functions()
        used.update(future._fn for future in list(link.tries.table.values()))
        gone = link.functions.prune(used)
        for number in gone:
            link.names.pop(number, None)
        out.put(wire.frame(wire.Forget(gone)))

    def is_plain(self) -> bool:
        """True if nothing is to be sent but plain tasks."""
        return not (self.control or self.resent or self.sends_singly or self._link.functions.is_full())
