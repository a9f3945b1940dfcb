"""Tries one executor for real: one small block, one worker, some calls.

    the keeper of blocks  ->  Watch  ->  the provider       what it is asked, and says, is written down
    the block's script    ->  worker_init, between two marks, and a preflight: stdout and stderr tell how far it got
    the pool              ->  probe, echo                   what a worker is like, and how long a call takes

Whatever happens, the block is ended. Nothing here judges: that is diagnosis.py's.
"""

from __future__ import annotations

import concurrent.futures
import json
import logging
import os
import shlex
import shutil
import statistics
import tempfile
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from time import monotonic, time
from typing import Any

from parsl_pool.config import Config
from parsl_pool.doctor import preflight, probe, reach
from parsl_pool.doctor.inspection import provider_of
from parsl_pool.errors import ExecutionProviderException, ParslPoolError, described
from parsl_pool.executor import ParslPoolExecutor
from parsl_pool.interchange import launch
from parsl_pool.loggers import careful_logger
from parsl_pool.providers import reasons
from parsl_pool.providers.cluster import ClusterProvider
from parsl_pool.providers.states import JobState, JobStatus
from parsl_pool.providers.walltime import walltime as walltime_rule
from parsl_pool.run_directory import RunPlace

BEGUN, INIT_ENDED, ALL_TOLD = (f"{preflight.MARK} {what}" for what in ("begun", "worker_init ended", "all told"))
log = careful_logger("parsl_pool")

_SOURCE_END = "PARSL_POOL_CHECK_SOURCE"
_CALLS = 30
_ONE_RANK = {"num_nodes": 1, "ranks_per_node": 1}
_LARGE_BYTES = 8 << 20
_LOOK_S = 0.2
_GRACE_S = 1.0  # for the last words of a job to be seen, and for a result that overtakes the news of its end
_POLL_S = 1.0
_WALLTIME_S = 600


@dataclass
class Evidence:
    """What came of a trial."""

    error: BaseException | None = None  # of the first task, or of the pool
    refused: ExecutionProviderException | None = None  # by the scheduler
    command: str = ""  # of the manager
    job: str = ""
    status: JobStatus | None = None  # the job's last
    stdout: str = ""
    stderr: str = ""
    waited_s: float = 0.0
    is_over_time: bool = False
    facts: dict[str, Any] = field(default_factory=dict)  # of the worker
    sent: float = 0.0  # when it was asked, and ...
    answered: float = 0.0  # ... had answered, by this machine's clock
    first_s: float = 0.0
    round_trip_s: float = 0.0
    bytes_per_s: float = 0.0
    directory: str = ""


class Watch:
    """Stands before a provider's `submit` and `status`, and writes down what passes. Used by the keeper's thread."""

    def __init__(self, provider: Any, say: Callable[[str], None]) -> None:
        self._provider, self._worker_init = provider, getattr(provider, "worker_init", None)
        self.refused: ExecutionProviderException | None = None
        self.command = self.job = ""
        self.last: JobStatus | None = None
        self._submit, self._status, self._say = provider.submit, provider.status, say
        provider.submit, provider.status = self.submit, self.status

    def submit(self, command: str, *arguments: Any, **options: Any) -> str:
        self.command = command
        if isinstance(self._worker_init, str):
            self._provider.worker_init = opening(self._worker_init, self._provider, command)
        try:
            job: str = self._submit(command, *arguments, **options)
        except ExecutionProviderException as problem:
            self.refused = self.refused or problem
            raise
        if not self.job:  # a second one would be there only because the first has failed
            self.job = job
            self._say(f"submitted as job {job}")
        return job

    def status(self, jobs: Any) -> list[JobStatus]:
        found: list[JobStatus] = self._status(jobs)
        now = dict(zip(jobs, found)).get(self.job)
        if now is not None:
            before = self.last
            self.last = now
            if before is None or (before.state, before.message) != (now.state, now.message):
                why = now.message if now.message and now.message != now.status_name else ""
                self._say(f"job {self.job} is {now.status_name}" + (f": {reasons.with_meaning(why)}" if why else ""))
        return found

    def look(self) -> None:
        """Ask once more, from another thread than the keeper's."""
        if self.job:
            try:
                self.status([self.job])
                if isinstance(self._provider, ClusterProvider):
                    self._provider.bring_output([self.job])
            except ExecutionProviderException as problem:
                log.warning("the state of job %s can't be told: %s", self.job, problem)

    @property
    def has_failed(self) -> bool:
        """The block is gone, or never was, or can't reach us."""
        return self.refused is not None or (self.last is not None and (self.last.terminal or self._is_cut_off))

    @property
    def _is_cut_off(self) -> bool:
        tried = told(self.last.stdout_summary or "").get("connect", {}) if self.last is not None else {}
        return bool(tried) and all(tried.values())


def try_executor(
    config: Config, executor: Any, *, timeout_s: float, nodes: int, say: Callable[[str], None], keep: bool = False
) -> Evidence:
    """What comes of one block of so many nodes.

    The executor is used up by that. Its files are kept if the trial fails, or `keep` says so.
    """
    provider = provider_of(executor)
    below = reach.run_directory(config, executor)
    is_ours = below is not None and not os.path.isdir(below)
    if below is not None:
        os.makedirs(below, mode=0o700, exist_ok=True)
    directory = tempfile.mkdtemp(prefix="check-", dir=below)
    evidence = Evidence(directory=directory)
    watch = None
    if provider is not None and not executor.manager_inside:
        make_small(provider, nodes)
        executor._provider = provider
        watch = Watch(provider, say)
        executor._place = RunPlace(directory)
    pool = ParslPoolExecutor(Config([executor], run_dir=directory, strategy="none"))
    silent = logging.NullHandler()  # what is on the log is told by us, in a sentence; else Python prints it on stderr
    log.addHandler(silent)
    try:
        # In MPI mode a call that asks for no nodes is refused.
        calls = pool.options(resources=_ONE_RANK) if getattr(executor, "mpi_launcher", "") else pool
        _run(calls, watch, evidence, timeout_s, say)
    finally:
        pool.shutdown(wait=True, cancel_futures=True) if evidence.facts else pool.kill_workers()
        log.removeHandler(silent)
        _collect(watch, evidence)
        if evidence.facts and not keep:
            shutil.rmtree(directory, ignore_errors=True)
            evidence.directory = ""
            if is_ours and below is not None:
                with suppress(OSError):  # somebody else uses it by now
                    os.rmdir(below)
    return evidence


def make_small(provider: Any, nodes: int) -> None:
    """One block of so many nodes. The provider is not to be used for anything else."""
    provider.limits = replace(
        provider.limits, init_blocks=1, min_blocks=0, max_blocks=1, nodes_per_block=nodes
    )
    walltime = getattr(provider, "walltime", None)
    if walltime is not None and walltime.seconds > _WALLTIME_S:
        provider.walltime = walltime_rule("walltime", _WALLTIME_S / 60)
    provider.status_polling_interval = min(_POLL_S, provider.status_polling_interval)


def opening(worker_init: str, provider: Any, command: str) -> str:
    """The same text between marks, and the preflight, which looks at the ticket that the manager's command names."""
    source = Path(preflight.__file__).read_text()
    marks = {mark: f"echo '{mark}'; echo '{mark}' >&2" for mark in (BEGUN, INIT_ENDED, ALL_TOLD)}
    python = launch.interpreter() if provider.sees_our_files else "python3"
    tickets = [word for word in shlex.split(command) if os.path.basename(word).startswith("ticket")]
    program = f"{shlex.quote(python)} - {shlex.quote(tickets[0] if tickets else '')}"
    return (
        f"{marks[BEGUN]}\n{worker_init}\n\n{marks[INIT_ENDED]}\n"
        f"{program} <<'{_SOURCE_END}'\n{source}\n{_SOURCE_END}\n{marks[ALL_TOLD]}\n"
    )


def _run(
    pool: Any, watch: Watch | None, evidence: Evidence, timeout_s: float, say: Callable[[str], None]
) -> None:
    begun = monotonic()
    try:
        future = pool.submit(probe.probe)
    except ParslPoolError as problem:
        evidence.error = problem
        return
    failed_at = None
    while not future.done():
        concurrent.futures.wait([future], timeout=_LOOK_S)
        now = monotonic()
        if watch is not None and watch.has_failed:
            failed_at = failed_at or now
            if now - failed_at > _GRACE_S:
                break
        if now - begun > timeout_s:
            evidence.is_over_time = True
            break
    evidence.waited_s = monotonic() - begun
    if watch is not None:
        watch.look()
    if not future.done():
        return
    evidence.error = future.exception()
    if evidence.error is None:
        say(f"a worker has answered after {evidence.waited_s:.1f} s")
        evidence.facts, evidence.first_s = future.result(), evidence.waited_s
        _measure(pool, evidence)


def _measure(pool: Any, evidence: Evidence) -> None:
    try:
        evidence.sent = time()
        evidence.facts = pool.submit(probe.probe).result(60)
        evidence.answered = time()
        times = []
        for _ in range(_CALLS):
            begun = monotonic()
            pool.submit(probe.echo, b"").result(60)
            times.append(monotonic() - begun)
        evidence.round_trip_s = statistics.median(times)
        begun = monotonic()
        pool.submit(probe.echo, os.urandom(_LARGE_BYTES)).result(120)
        evidence.bytes_per_s = 2 * _LARGE_BYTES / (monotonic() - begun)
    except (ParslPoolError, concurrent.futures.TimeoutError, TimeoutError) as problem:
        evidence.error = problem


def told(stdout: str) -> dict[str, Any]:
    """What the preflight has printed; empty if it was not reached."""
    for line in stdout.splitlines():
        text = line.rpartition(preflight.MARK + " ")[2]
        if text.startswith("{"):
            try:
                facts: dict[str, Any] = json.loads(text)
            except ValueError:  # half a line
                continue
            return facts
    return {}


def _collect(watch: Watch | None, evidence: Evidence) -> None:
    if watch is None:
        return
    evidence.refused, evidence.command, evidence.job = watch.refused, watch.command, watch.job
    evidence.status = watch.last
    if watch.last is not None:
        evidence.stdout, evidence.stderr = watch.last.stdout or "", watch.last.stderr or ""


def is_waiting(evidence: Evidence) -> bool:
    """The job has never run."""
    states = (JobState.PENDING, JobState.HELD)
    return evidence.status is not None and evidence.status.state in states


def failure_of(evidence: Evidence) -> str:
    """What the pool said, if it said anything."""
    return "" if evidence.error is None else described(evidence.error)
