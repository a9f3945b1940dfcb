"""`SimulatedProvider`: made-up nodes, thousands on a laptop, to see how a Config behaves before a real cluster does."""

from __future__ import annotations

import os
import random
import secrets
import shlex
import threading
from collections.abc import Sequence
from typing import Any

from parsl_pool import checks
from parsl_pool.errors import ConfigurationError, ScaleOutFailed
from parsl_pool.providers.base import BlockLimits, ExecutionProvider
from parsl_pool.providers.scripts import describe_failure
from parsl_pool.providers.simulated_cluster import ClusterProgram
from parsl_pool.providers.states import JobState, JobStatus
from parsl_pool.providers.walltime import walltime as walltime_rule

Range = float | tuple[float, float]

_PROGRAM = "manager_program"
_NODES_OF_A_PROCESS = 4000  # each takes four descriptors
_HOUR_S = 3600.0
_SHARE = checks.number(least=0, most=1, limits="from 0 to 1")
_RATE = checks.number(least=0, most=1e6)
_JOB_IDS = checks.list_of(checks.any_text, "a list of job ids")
_AMOUNT = checks.number(least=0, most=1e9, kind="a number of seconds")


def _time(name: str, value: object) -> tuple[float, float]:
    """Seconds, or the least and the most of them."""
    low, high = value if isinstance(value, tuple) and len(value) == 2 else (value, value)
    low, high = _AMOUNT(name, low), _AMOUNT(name, high)
    if low > high:
        raise ConfigurationError(f"{name} must be seconds, or (least, most), got {value!r}")
    return low, high


class SimulatedProvider(ExecutionProvider):
    """Blocks on a cluster that there is not.

    The pool, its interchange and the messages are the real ones, and so are scaling, retries and the loss of nodes. The
    nodes only let time go by: they take calls of `parsl_pool.simulation.last`, or, with `task_s`, any, and run none.
    Everything is drawn from `seed`, so that what happened once happens again, as far as the real parts allow.

    Args:
        nodes: how many the cluster has. A block that needs more than are free waits.
        nodes_per_block, init_blocks, min_blocks, max_blocks, parallelism: see `BlockLimits`.
        walltime: of a block: ``"HH:MM:SS"``, ``"D-HH:MM:SS"``, or minutes. Then it is ended as TIMEOUT.
        queue_wait: seconds that a block waits in the queue at least, or the least and the most of them.
        start_time: seconds from a block's start until its managers start, or the least and the most of them.
        failure_rate: the share of blocks that fail before their managers start.
        preemption_rate: how often a block is taken away, on average, per hour that it runs.
        node_failure_rate: how often a node fails for good, on average, per hour that it runs.
        speed: how much faster time goes by there: 60 makes a minute a second.
        task_s: seconds that any call lasts, whose result is None then. None: only `last` is taken.
        seed: of all that is drawn.

    A copy, pickled or not, has the options and none of the jobs.
    """

    def __init__(
        self,
        *,
        nodes: int = 1000,
        nodes_per_block: int = 1,
        init_blocks: int = 1,
        min_blocks: int = 0,
        max_blocks: int = 1,
        parallelism: float = 1,
        walltime: str | float = "01:00:00",
        queue_wait: Range = 0,
        start_time: Range = 0,
        failure_rate: float = 0,
        preemption_rate: float = 0,
        node_failure_rate: float = 0,
        speed: float = 1,
        task_s: float | None = None,
        seed: int = 0,
    ) -> None:
        self.nodes = checks.whole(least=1)("nodes", nodes)
        self.limits = BlockLimits(
            init_blocks=init_blocks, min_blocks=min_blocks, max_blocks=max_blocks,
            nodes_per_block=nodes_per_block, parallelism=parallelism,
        )  # fmt: skip
        self.walltime = walltime_rule("walltime", walltime)
        self.queue_wait, self.start_time = _time("queue_wait", queue_wait), _time("start_time", start_time)
        self.failure_rate = _SHARE("failure_rate", failure_rate)
        self.preemption_rate = _RATE("preemption_rate", preemption_rate)
        self.node_failure_rate = _RATE("node_failure_rate", node_failure_rate)
        self.speed = checks.number(above=0, most=1e6)("speed", speed)
        self.task_s = checks.optional(_AMOUNT)("task_s", task_s)
        self.seed = checks.whole()("seed", seed)
        self.status_polling_interval = 0.1
        self._lock = threading.Lock()  # guards what follows
        self._random = random.Random(seed)
        self._clusters: list[ClusterProgram] = []
        self._jobs: dict[str, JobStatus] = {}  # as they were when we last looked
        self._submitted = 0

    @property
    def label(self) -> str:
        return "simulated"

    def submit(self, command: str, tasks_per_node: int, job_name: str = "parsl_pool.auto") -> str:
        checks.any_text("command", command)
        checks.name("job_name", job_name)
        checks.whole(least=1)("tasks_per_node", tasks_per_node)
        if self.script_dir is None:
            raise ConfigurationError("the provider has no script_dir: an executor sets it")
        words = shlex.split(command)
        place = next((place for place, word in enumerate(words) if _PROGRAM in word), len(words))
        if len(words) < place + 3:
            raise ScaleOutFailed(
                self, f"made-up nodes stand in for parsl_pool's own managers, and can't run another command: {command}"
            )
        with self._lock:
            self._submitted += 1
            job = str(self._submitted)
            record = {"name": job, "ticket": words[place + 1], "block": words[place + 2], **self._draw()}
            self._jobs[job] = JobStatus(JobState.PENDING, "submitted")
            cluster = self._cluster_of(job)
        try:
            cluster.say(record)
        except OSError as problem:
            with self._lock:
                del self._jobs[job]
            what = f"the made-up cluster can't be started: {describe_failure(problem)}"
            raise ScaleOutFailed(self, what) from problem
        return job

    def _draw(self) -> dict[str, Any]:
        """What becomes of a job."""
        rnd = self._random
        wait, start = rnd.uniform(*self.queue_wait), rnd.uniform(*self.start_time)
        ends: list[tuple[float, str, str, int | None]] = [(float(self.walltime.seconds), "TIMEOUT", "TimeLimit", None)]
        if rnd.random() < self.failure_rate:
            ends.append((start, "FAILED", "NonZeroExitCode: its start has failed", 1))
        if self.preemption_rate:
            preempted = start + rnd.expovariate(self.preemption_rate / _HOUR_S)
            ends.append((preempted, "FAILED", "Preempted: others needed its nodes", None))
        life, end, why, exit_code = min(ends, key=lambda end: end[0])
        lost = {}
        for place in range(self.nodes_per_block):
            if self.node_failure_rate:
                lost[place] = start + rnd.expovariate(self.node_failure_rate / _HOUR_S)
        return {
            "nodes": self.nodes_per_block, "wait_s": wait, "start_s": start, "life_s": life, "end": end,
            "why": why, "exit_code": exit_code, "lost": lost,
        }  # fmt: skip

    def _cluster_of(self, job: str) -> ClusterProgram:
        """Nodes come from several processes if they are many. The lock is held."""
        if not self._clusters:
            count = max(1, min(-(-self.nodes // _NODES_OF_A_PROCESS), self.nodes // self.nodes_per_block))
            # executors of one run share the directory
            path = os.path.join(os.fspath(self.script_dir or ""), f"simulated-{secrets.token_hex(4)}")
            for number in range(count):
                first, last = self.nodes * number // count, self.nodes * (number + 1) // count
                how = {"nodes": last - first, "first": first + 1, "speed": self.speed, "task_s": self.task_s}
                self._clusters.append(ClusterProgram(f"{path}-{number}", how))
        return self._clusters[int(job) % len(self._clusters)]

    def status(self, job_ids: Sequence[str]) -> list[JobStatus]:
        job_ids = _JOB_IDS("job_ids", job_ids)
        with self._lock:
            clusters = list(self._clusters)
        states = {job: state for cluster in clusters for job, state in cluster.states().items()}
        with self._lock:
            for job, (state, message, exit_code) in states.items():
                known = self._jobs.get(job)
                if known is not None and not known.terminal:
                    self._jobs[job] = JobStatus(JobState[state], message or None, exit_code)
        for cluster in clusters:
            if cluster.has_died():
                self._lose_jobs(cluster)
        self._end_if_idle()
        with self._lock:
            return [self._jobs.get(job, JobStatus(JobState.UNKNOWN, f"no job {job} here")) for job in job_ids]

    def _lose_jobs(self, cluster: ClusterProgram) -> None:
        lost = JobStatus(JobState.FAILED, "the made-up cluster has ended", None, None, cluster.stderr_path)
        with self._lock:
            for job, known in self._jobs.items():
                if not known.terminal and self._cluster_of(job) is cluster:
                    self._jobs[job] = lost
        cluster.end()

    def cancel(self, job_ids: Sequence[str]) -> list[bool]:
        job_ids = _JOB_IDS("job_ids", job_ids)
        with self._lock:
            known = [job in self._jobs for job in job_ids]
            live = [job for job in job_ids if job in self._jobs and not self._jobs[job].terminal]
            clusters = [self._cluster_of(job) for job in live]
        for job, cluster in zip(live, clusters):
            try:
                cluster.say({"cancel": job})
            except OSError:
                pass  # with the cluster its jobs have ended
        with self._lock:
            for job in live:
                self._jobs[job] = JobStatus(JobState.CANCELLED, "cancelled")
        self._end_if_idle()
        return known

    def _end_if_idle(self) -> None:
        """The programs go with the last job."""
        with self._lock:
            if not all(job.terminal for job in self._jobs.values()):
                return
            clusters = list(self._clusters)
        for cluster in clusters:
            cluster.end()

    def __repr__(self) -> str:
        return (
            f"SimulatedProvider(nodes={self.nodes}, nodes_per_block={self.nodes_per_block}, "
            f"init_blocks={self.init_blocks}, min_blocks={self.min_blocks}, max_blocks={self.max_blocks}, "
            f"parallelism={self.parallelism}, walltime={str(self.walltime)!r}, speed={self.speed})"
        )

    def __getstate__(self) -> dict[str, Any]:
        state = {**self.__dict__, "_jobs": {}, "_clusters": [], "_submitted": 0}
        del state["_lock"]
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._lock = threading.Lock()
