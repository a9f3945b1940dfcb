"""The queue of a made-up cluster, without clocks: jobs wait, get nodes, and end, each as was drawn for it beforehand.

Each method is an event, with the time at which it happens, in simulated seconds; it returns effects for the shell
(cluster.py). Not thread-safe: one owner.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

PENDING, RUNNING, CANCELLED, COMPLETED, FAILED, TIMEOUT = (
    "PENDING", "RUNNING", "CANCELLED", "COMPLETED", "FAILED", "TIMEOUT",
)  # fmt: skip


class Begin(NamedTuple):
    """A node of a job is up: its manager starts."""

    job: str
    host: str


class End(NamedTuple):
    """A node is gone, with all that runs on it."""

    job: str
    host: str


Effect = Begin | End


@dataclass(slots=True)
class Job:
    """What was drawn for a job. Times are in seconds.

    Attributes:
        nodes: how many it needs.
        wait_s: how long it stays in the queue at least.
        start_s: from its start until its managers start.
        life_s: from its start to its end.
        end, why, exit_code: the state that it ends in by itself, and what is said of that.
        lost: when nodes of it fail: by the node's place in the job, seconds after its start.
    """

    name: str
    nodes: int
    wait_s: float
    start_s: float
    life_s: float
    end: str = TIMEOUT
    why: str = ""
    exit_code: int | None = None
    lost: dict[int, float] = field(default_factory=dict)
    # from here on: the queue's
    state: str = PENDING
    message: str = ""
    submitted: float = 0.0
    started: float = 0.0
    hosts: list[str] = field(default_factory=list)
    due: list[tuple[float, Effect]] = field(default_factory=list)  # what is to happen to it, the next first


class SimulatedQueue:
    """All jobs of one made-up cluster."""

    def __init__(self, nodes: int, first: int = 1) -> None:
        """first: number of the first node."""
        self._free = [f"sim{number:05}" for number in range(first + nodes - 1, first - 1, -1)]
        self.nodes = nodes
        self.jobs: dict[str, Job] = {}
        self._waiting: dict[str, Job] = {}  # in the order of their submission
        self._running: dict[str, Job] = {}

    def submit(self, job: Job, now: float) -> list[Effect]:
        """A job comes into the queue."""
        if job.name in self.jobs:
            return []
        self.jobs[job.name] = self._waiting[job.name] = job
        job.submitted = now
        if job.nodes > self.nodes:
            job.message = f"PartitionNodeLimit: {job.nodes} nodes asked for, the cluster has {self.nodes}"
        return self.tick(now)

    def cancel(self, name: str, now: float) -> list[Effect]:
        """The user ends a job."""
        return self._end_early(name, CANCELLED, "cancelled", None, now)

    def finish(self, name: str, now: float) -> list[Effect]:
        """What a job ran has ended by itself."""
        return self._end_early(name, COMPLETED, "", 0, now)

    def _end_early(self, name: str, state: str, message: str, exit_code: int | None, now: float) -> list[Effect]:
        job = self.jobs.get(name)
        if job is None or job.state not in (PENDING, RUNNING):
            return []
        return self._end(job, state, message, exit_code) + self.tick(now)

    def tick(self, now: float) -> list[Effect]:
        """Time has passed."""
        effects: list[Effect] = []
        for job in list(self._running.values()):
            while job.due and job.due[0][0] <= now:
                effect = job.due.pop(0)[1]
                if isinstance(effect, End):
                    job.hosts.remove(effect.host)  # it is broken: nobody gets it again
                    job.due = [item for item in job.due if item[1].host != effect.host]
                effects.append(effect)
            if not job.hosts:
                effects += self._end(job, FAILED, "NodeFail: all its nodes have failed", None)
            elif now >= job.started + job.life_s:
                effects += self._end(job, job.end, job.why, job.exit_code)
        for job in list(self._waiting.values()):
            if now >= job.submitted + job.wait_s:
                self._start(job, now)
        return effects

    def next_time(self) -> float | None:
        """When something is to happen next; None: not before somebody does something."""
        times = [job.submitted + job.wait_s for job in self._waiting.values() if job.nodes <= len(self._free)]
        for job in self._running.values():
            times.append(min([job.started + job.life_s, *(when for when, _ in job.due[:1])]))
        return min(times, default=None)

    def status(self, name: str) -> tuple[str, str, int | None]:
        """The state of a job, what is said of it, and its exit code."""
        job = self.jobs[name]
        message = job.message
        if job.state == PENDING and not message:
            message = f"Resources: {job.nodes} nodes asked for, {len(self._free)} of {self.nodes} are free"
            if len(self._free) >= job.nodes:
                message = "Priority: others are before it"
        elif job.state == RUNNING:
            message = f"on {', '.join(job.hosts[:3])}{', ...' if len(job.hosts) > 3 else ''}"
        return job.state, message, job.exit_code if job.state not in (PENDING, RUNNING) else None

    def _start(self, job: Job, now: float) -> None:
        if job.nodes > len(self._free):
            return  # those behind it that fit may go first
        del self._waiting[job.name]
        self._running[job.name] = job
        job.state, job.started = RUNNING, now
        job.hosts = [self._free.pop() for _ in range(job.nodes)]
        job.due = [(now + job.start_s, Begin(job.name, host)) for host in job.hosts]
        job.due += [(now + after, End(job.name, job.hosts[place])) for place, after in job.lost.items()]
        job.due = sorted([item for item in job.due if item[0] < now + job.life_s], key=lambda item: item[0])

    def _end(self, job: Job, state: str, message: str, exit_code: int | None) -> list[Effect]:
        self._waiting.pop(job.name, None)
        effects: list[Effect] = []
        if self._running.pop(job.name, None) is not None:
            effects = [End(job.name, host) for host in job.hosts]
            self._free += reversed(job.hosts)
        job.state, job.message, job.exit_code = state, message, exit_code
        job.hosts, job.due = [], []
        return effects
