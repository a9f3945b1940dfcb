"""A made-up cluster as a program: a queue, and the nodes of the jobs that run, all in this one process.

    SimulatedProvider --lines of JSON--> stdin;  the jobs' states --> STATE_FILE, replaced when they change

Program: `python -m parsl_pool.simulation.cluster STATE_FILE`. The first line says how the cluster is, each other one
is a job, or the name of one that is to be cancelled. It ends with its stdin.
"""

from __future__ import annotations

import gc
import json
import os
import resource
import signal
import sys
from collections.abc import Callable
from time import monotonic
from typing import Any

import zmq

from parsl_pool.interchange.loop import Loop
from parsl_pool.simulation.node import SimulatedNode
from parsl_pool.simulation.queue import Begin, Effect, Job, SimulatedQueue

_WRITE_S = 0.02  # between two state files


class NodeLoop(Loop):
    """What one node sees of the loop that all share.

    An uplink wants to look at its socket at the end of each turn of the loop; with a thousand of them that would be all
    that the process does. Here only those look that something has happened to.
    """

    def __init__(self, loop: Loop, touched: dict[NodeLoop, None]) -> None:
        # Not super().__init__(): it has no poller of its own.
        self._loop, self._touched = loop, touched
        self.after_reads: list[Callable[[], None]] = []

    def add_reader(self, fd: int, callback: Callable[[], None]) -> None:
        """See Loop."""
        self._loop.add_reader(fd, lambda: self._run(callback))

    def remove(self, fd: int) -> None:
        """See Loop."""
        self._loop.remove(fd)

    def call_at(self, when: float, callback: Callable[[], None]) -> None:
        """See Loop."""
        self._loop.call_at(when, lambda: self._run(callback))

    def _run(self, callback: Callable[[], None]) -> None:
        self._touched[self] = None
        callback()


class SimulatedCluster:
    """Gives a SimulatedQueue time, and its nodes life. Belongs to the loop's thread."""

    def __init__(
        self, loop: Loop, state_file: str, *, nodes: int, first: int, speed: float, task_s: float | None
    ) -> None:
        self._loop, self._state_file = loop, state_file
        self._speed, self._task_s = speed, task_s
        self._began = monotonic()
        self._queue = SimulatedQueue(nodes, first)
        self._context: zmq.Context[Any] = zmq.Context(1)
        self._context.set(zmq.MAX_SOCKETS, 60_000)
        self._touched: dict[NodeLoop, None] = {}
        self._nodes: dict[tuple[str, str], SimulatedNode] = {}  # by job and host
        self._tickets: dict[str, tuple[str, str]] = {}  # job -> its ticket, and its block
        self._timer = float("inf")  # when we look next, as far as is known
        self._is_written = True
        loop.after_reads.append(self._serve)

    def line(self, record: dict[str, Any]) -> None:
        """The provider says something."""
        now = self._now()
        if "cancel" in record:
            effects = self._queue.cancel(record["cancel"], now)
        else:
            self._tickets[record["name"]] = record.pop("ticket"), record.pop("block")
            record["lost"] = {int(place): after for place, after in record["lost"].items()}
            effects = self._queue.submit(Job(**record), now)
        self._changed(effects)

    def _now(self) -> float:
        return (monotonic() - self._began) * self._speed

    def _tick(self) -> None:
        self._timer = float("inf")
        self._changed(self._queue.tick(self._now()))

    def _changed(self, effects: list[Effect]) -> None:
        for effect in effects:
            self._perform(effect)
        when = self._queue.next_time()
        if when is not None and when < self._timer:
            self._timer = when
            self._loop.call_at(self._began + when / self._speed, self._tick)
        if self._is_written:
            self._is_written = False
            self._loop.call_at(monotonic() + _WRITE_S, self._write)

    def _perform(self, effect: Effect) -> None:
        key = effect.job, effect.host
        if isinstance(effect, Begin):
            ticket, block = self._tickets[effect.job]
            try:
                self._nodes[key] = SimulatedNode(
                    NodeLoop(self._loop, self._touched), self._context, effect.host, ticket, block,
                    speed=self._speed, task_s=self._task_s, on_gone=lambda: self._node_gone(key),
                )  # fmt: skip
            except (OSError, ValueError, TypeError) as problem:
                print(f"{effect.host}: cannot read its ticket {ticket}: {problem}", file=sys.stderr, flush=True)
        elif (node := self._nodes.pop(key, None)) is not None:
            node.vanish()

    def _node_gone(self, key: tuple[str, str]) -> None:
        """A node's manager has ended in good order; when all of a job have, the job is over."""
        self._nodes.pop(key, None)
        if not any(job == key[0] for job, _ in self._nodes):
            self._changed(self._queue.finish(key[0], self._now()))

    def _serve(self) -> None:
        while self._touched:
            loops = list(self._touched)
            self._touched.clear()
            for loop in loops:
                for serve in loop.after_reads:
                    serve()

    def _write(self) -> None:
        self._is_written = True
        states = {name: self._queue.status(name) for name in self._queue.jobs}
        with open(f"{self._state_file}.new", "w") as file:
            json.dump(states, file)
        os.replace(f"{self._state_file}.new", self._state_file)


def main() -> None:
    """Program: `cluster STATE_FILE`."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    gc.freeze()
    gc.set_threshold(50_000)
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    loop, pending = Loop(), bytearray()
    cluster: list[SimulatedCluster] = []

    def read() -> None:
        data = os.read(0, 1 << 20)
        if not data:
            os._exit(0)  # every node is gone, as when the power fails
        pending.extend(data)
        while (end := pending.find(b"\n")) >= 0:
            record = json.loads(pending[:end])
            del pending[: end + 1]
            if cluster:
                cluster[0].line(record)
            else:
                cluster.append(SimulatedCluster(loop, sys.argv[1], **record))

    loop.add_reader(0, read)
    loop.run()


if __name__ == "__main__":
    main()
