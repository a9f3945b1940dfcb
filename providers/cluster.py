"""What the providers of all batch schedulers share: scripts, commands, and the life of a job.

A scheduler differs from the next in its directives, its three commands, what these print, and its states' names:
that is what a class below `ClusterProvider` says. The rest is here.
"""

from __future__ import annotations

import os
import re
import secrets
import shlex
import threading
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from time import monotonic, sleep
from typing import Any, NamedTuple

from parsl_pool import checks
from parsl_pool.errors import (
    ConfigurationError,
    ExecutionProviderException,
    SchedulerMissingArgs,
    SSHException,
    SubmitException,
)
from parsl_pool.loggers import careful_logger
from parsl_pool.providers.base import BlockLimits, ExecutionProvider, Preview, check_job
from parsl_pool.providers.channels.base import TIMED_OUT, Channel, CommandResult
from parsl_pool.providers.channels.local import LocalChannel
from parsl_pool.providers.launchers import Launcher, LauncherLike, SingleNodeLauncher, check_launcher, launched
from parsl_pool.providers.remote_directory import RemoteDirectory
from parsl_pool.providers.scripts import directive_lines, script_text, scripts_named, write_script
from parsl_pool.providers.seen import Seen, ended_with, is_over, with_reason
from parsl_pool.providers.states import JobState, JobStatus
from parsl_pool.providers.walltime import walltime as walltime_rule

log = careful_logger(__name__)


_SHELL = "/bin/bash"
_OUTPUT_BYTES = 1 << 20  # of what a job has written elsewhere, its end is brought here
_REASONS_S = 30.0  # between two questions why jobs wait: that is for people to read
_LOOKS, _LOOK_S = 3, 0.5  # for jobs to go after a cancel command that failed
_UNLISTED_S = 60.0
"""A queue may not list a job yet, or no longer while its exit code is on the way here (NFS, accounting)."""

_ID = re.compile(r"\d[\w.\[\]-]*", re.ASCII)
_JOB_IDS = checks.list_of(checks.any_text, "a list of job ids")
_CHANNEL = checks.instance_of(Channel, "a Channel")  # type: ignore[type-abstract]  # only asked about
_HOST = re.compile(r"[\w-]+(\.[\w-]+)*", re.ASCII)
_PLAIN = {"LC_ALL": "C", "LANG": "C"}  # no localized dates and words in what commands print


class JobRequest(NamedTuple):
    """What directives are made from. The paths are those on the scheduler's machine."""

    name: str
    nodes: int
    tasks_per_node: int
    stdout: str
    stderr: str


@dataclass(slots=True)
class _Job:
    """A job that was submitted. Belongs to the provider's lock."""

    base: str  # path of its script on this machine, without the suffix; "": not known
    submitted: float = field(default_factory=monotonic)
    unlisted_since: float | None = None
    is_cancelled: bool = False
    last: Seen = field(default_factory=lambda: Seen(JobState.PENDING, "submitted"))


class ClusterProvider(ExecutionProvider):
    """Base of the batch schedulers' providers.

    Args:
        channel: where the scheduler's commands are; None: on this machine.
        nodes_per_block: nodes of one job.
        init_blocks, min_blocks, max_blocks, parallelism: see `BlockLimits`.
        walltime: of a job: ``"HH:MM:SS"``, ``"D-HH:MM:SS"``, or minutes.
        launcher: how the command is started on the nodes of a job; None: as is usual with this scheduler.
        scheduler_options: lines that go into each script, after our directives: each begins with a #.
        worker_init: shell text that runs first in each job.
        cmd_timeout: seconds that one command of the scheduler may take.

    A copy, pickled or not, has the options and none of the jobs.
    """

    name = "cluster"
    name_length = 200  # of a job's name: what the scheduler takes
    has_directives = True  # a script's head says what is asked for
    plain_path = re.compile(r"[\w./+,@=-]+", re.ASCII)  # a path that its directives can name
    chunk = 1000  # of job ids in one command line
    extras: tuple[str, ...] = ()  # programs that are asked too, where they are installed
    default_launcher: type[Launcher] = SingleNodeLauncher
    excluded: tuple[str, ...] = ()  # nodes that are bad: no further job is to be there

    def __init__(
        self,
        *,
        channel: Channel | None,
        nodes_per_block: int,
        init_blocks: int,
        min_blocks: int,
        max_blocks: int,
        parallelism: float,
        walltime: str | float,
        launcher: LauncherLike | None,
        scheduler_options: str = "",
        worker_init: str = "",
        cmd_timeout: float = 10,
    ) -> None:
        self.limits = BlockLimits(
            init_blocks=init_blocks, min_blocks=min_blocks, max_blocks=max_blocks,
            nodes_per_block=nodes_per_block, parallelism=parallelism,
        )  # fmt: skip
        self.channel = _CHANNEL("channel", LocalChannel() if channel is None else channel)
        self.launcher = check_launcher(self.default_launcher() if launcher is None else launcher)
        self.walltime = walltime_rule("walltime", walltime)
        lines = directive_lines if self.has_directives else checks.any_text
        self.scheduler_options = lines("scheduler_options", scheduler_options)
        self.worker_init = checks.any_text("worker_init", worker_init)
        self.cmd_timeout = checks.seconds("cmd_timeout", cmd_timeout)
        self._remote = _remote(self.channel)
        self._lock = threading.Lock()  # guards _jobs and the jobs in it, _told and _asked
        self._jobs: dict[str, _Job] = {}
        self._told: set[str] = set()  # what has been warned of
        self._asked = -_REASONS_S  # when the scheduler was asked why jobs wait

    # -- what a scheduler's class says

    @abstractmethod
    def directives(self, job: JobRequest) -> Sequence[str]:
        """The lines at the head of a script that ask for a job."""

    @abstractmethod
    def submit_command(self, script: str) -> str:
        """The command that submits this script (a path, quoted for the shell)."""

    @abstractmethod
    def job_id(self, stdout: str) -> str | None:
        """The job's id in what the submit command has printed; None if there is none."""

    @abstractmethod
    def queue_command(self, job_ids: Sequence[str]) -> str:
        """The command that lists these jobs, as far as the queue has them."""

    @abstractmethod
    def queue(self, stdout: str) -> Mapping[str, Seen]:
        """What it has printed, by job id. Lines of another form (banners, heads) are passed over."""

    @abstractmethod
    def cancel_command(self, job_ids: Sequence[str]) -> str:
        """The command that ends these jobs."""

    def description(self, job: JobRequest, script: str) -> str:
        """A file that goes with the script, beside it; "" if this scheduler wants none."""
        return ""

    def is_nothing_listed(self, result: CommandResult) -> bool:
        """True if the queue command has failed only because the queue has none of the jobs."""
        return False

    def key(self, job_id: str) -> str:
        """What `queue` and `history` name this job by, where that is not what the submit command has printed."""
        return job_id

    def find_command(self, job_name: str) -> str:
        """A command that prints the ids of jobs with this name, a line each; "" if there is none."""
        return ""

    def history(self, job_ids: Sequence[str]) -> Mapping[str, Seen]:
        """What the scheduler remembers of jobs that have left the queue, by job id."""
        return {}

    def reasons(self, job_ids: Sequence[str]) -> Mapping[str, str]:
        """Why these jobs wait, in the scheduler's words, where the queue command does not say."""
        return {}

    def node_of(self, host: str) -> str | None:
        """What the scheduler calls this host; None if it does not know it, or can't be told that a node is bad."""
        return None

    # -- the contract with the executor

    @property
    def label(self) -> str:
        return self.name

    def submit(self, command: str, tasks_per_node: int, job_name: str = "parsl_pool.auto") -> str:
        if self.script_dir is None:
            raise ConfigurationError(
                "the provider has no script_dir: an executor sets it; who uses the provider alone must set "
                "provider.script_dir to a directory that the nodes of the cluster see"
            )
        check_job(command, tasks_per_node, job_name)
        name, script = self._write(command, tasks_per_node, job_name)
        job_id = self._enqueue(name, script)
        with self._lock:
            self._jobs[job_id] = _Job(os.path.join(os.path.abspath(self.script_dir), name))
        log.info("job %s: %s", job_id, script)
        return job_id

    def status(self, job_ids: Sequence[str]) -> list[JobStatus]:
        """One command of the scheduler for all jobs; those that have ended are not asked for again.

        Raises:
            ExecutionProviderException: the command failed, or took longer than cmd_timeout. Nothing is known by
                that: the jobs keep their states.
        """
        job_ids = _JOB_IDS("job_ids", job_ids)
        with self._lock:
            known = {job_id: self._jobs[job_id] for job_id in job_ids if job_id in self._jobs}
            live = [job_id for job_id, job in known.items() if not is_over(job.last)]
        if live:
            self._refresh(live)
        return [self._status(job_id, known.get(job_id)) for job_id in job_ids]

    def cancel(self, job_ids: Sequence[str]) -> list[bool]:
        """Asks the scheduler to end the jobs. False for all if it refuses; those that have ended: True."""
        job_ids = _JOB_IDS("job_ids", job_ids)
        with self._lock:
            jobs = {i: self._jobs[i] for i in job_ids if i in self._jobs and not is_over(self._jobs[i].last)}
        done = True
        for some in _chunks(list(jobs), self.chunk):
            command = self.cancel_command(some)
            result = self._run(command)
            if result.code and self._are_there(some):
                log.error("%s: %s", self.label, result.failure_of(command, self.cmd_timeout))
                done = False
        with self._lock:
            for job in jobs.values():
                job.is_cancelled = done
            return [job_id in self._jobs and (done or job_id not in jobs) for job_id in job_ids]

    def _are_there(self, job_ids: Sequence[str]) -> bool:
        """False if the queue says that it has none of them any more, or soon does.

        Cancel commands fail if one of the jobs has ended meanwhile; most end the others all the same.
        """
        for _ in range(_LOOKS):
            result = self._run(self.queue_command(job_ids))
            if result.code and not self.is_nothing_listed(result):
                return True  # nobody knows
            seen = self.queue(result.stdout)
            if not any(self.key(job_id) in seen and not is_over(seen[self.key(job_id)]) for job_id in job_ids):
                return False
            sleep(_LOOK_S)
        return True

    def channels(self) -> list[Channel]:
        return [self.channel]

    @property
    def sees_our_files(self) -> bool:
        """As far as the scheduler's machine does."""
        return self._remote is None

    def bring(self, path: str) -> str:
        return path if self._remote is None else self._remote.push(path)

    def close(self) -> None:
        with self._lock:
            left = [job_id for job_id, job in self._jobs.items() if not (job.is_cancelled or is_over(job.last))]
        try:
            if self._remote is not None and not left:
                self._remote.remove()
        finally:
            self.channel.close()

    def preview(self, command: str, tasks_per_node: int, job_name: str) -> Preview:
        check_job(command, tasks_per_node, job_name)
        base = os.path.join(self.script_dir or "/RUN/blocks", job_name)
        job = JobRequest(job_name, self.nodes_per_block, tasks_per_node, f"{base}.out", f"{base}.err")
        submit = self.submit_command(f"{base}.sh")
        lines = (submit, self.queue_command(["1"]), self.cancel_command(["1"]))
        return Preview(
            self.script(command, tasks_per_node, job), self.description(job, f"{base}.sh"), submit,
            tuple(dict.fromkeys(line.split()[0] for line in lines)), self.extras,
        )  # fmt: skip

    def exclude(self, host: str) -> bool:
        node = self.node_of(host) if _HOST.fullmatch(host) else None
        if node is not None and node not in self.excluded:
            self.excluded = (*self.excluded, node)
        return node is not None

    def adopt(self, job_ids: Sequence[str]) -> None:
        with self._lock:
            for job_id in _JOB_IDS("job_ids", job_ids):
                self._jobs.setdefault(job_id, _Job(""))

    def find(self, job_name: str) -> list[str]:
        """By the scripts: the name of each has an ending that nobody else's has, and its job has the same name."""
        names = scripts_named(self.script_dir, f"{self._plain(job_name)}.")
        return [job_id for name in names if (job_id := self._find(name)) is not None]

    # -- submitting

    def script(self, command: str, tasks_per_node: int, job: JobRequest) -> str:
        """The text of the script that a job runs."""
        exit_file = f"{job.stdout.removesuffix('.out')}.exit"
        redirect = ""
        if not self.plain_path.fullmatch(job.stdout):
            redirect = f"exec >{shlex.quote(job.stdout)} 2>{shlex.quote(job.stderr)}\n"
            job = job._replace(stdout=os.devnull, stderr=os.devnull)
        try:
            directives = self.directives(job)
        except KeyError as missing:
            raise SchedulerMissingArgs(str(missing.args[0]), self.label) from missing
        lines = [*directives, *(self.scheduler_options.splitlines() if self.has_directives else [])]
        return script_text(
            shell=_SHELL,
            job_name=job.name,
            worker_init=redirect + self._exports() + self.worker_init,
            body=launched(self.launcher, command, tasks_per_node, self.nodes_per_block),
            directives="".join(f"{line}\n" for line in lines),
            exit_file=exit_file,
        )

    def _exports(self) -> str:
        """Tells managers what was asked for: a node may show all that it has, though others use it, too."""
        asked = {"PARSL_CORES": self.cores_per_node, "PARSL_MEMORY_GB": self.mem_per_node}
        return "".join(f"export {name}={value:g}\n" for name, value in asked.items() if value)

    def _plain(self, job_name: str) -> str:
        """As much of it as every scheduler takes, with room for an ending."""
        return re.sub(r"[^\w.-]", "_", job_name, flags=re.ASCII)[: self.name_length - 7].lstrip(".-")

    def _write(self, command: str, tasks_per_node: int, job_name: str) -> tuple[str, str]:
        """The job's name, and the path of its script on the scheduler's machine."""
        # A name that nobody else's job has: by it a job is found whose submit command did not answer.
        name = f"{self._plain(job_name)}.{secrets.token_hex(3)}"
        assert self.script_dir is not None
        local = os.path.abspath(self.script_dir)
        base = os.path.join(local if self._remote is None else self._remote.path(), name)
        request = JobRequest(name, self.nodes_per_block, tasks_per_node, f"{base}.out", f"{base}.err")
        texts = {
            ".submit": self.description(request, f"{base}.sh"),
            ".sh": self.script(command, tasks_per_node, request),
        }
        path = ""
        for suffix, text in texts.items():
            if text:
                written = write_script(local, name, text, suffix=suffix)
                path = str(written) if self._remote is None else self._remote.push(written)
        return name, path

    def _enqueue(self, name: str, script: str) -> str:
        command = self.submit_command(script)
        try:
            result = self._run(command)
        except SSHException as problem:  # was it submitted? As if the command had not answered: we ask
            result = CommandResult(TIMED_OUT, "", str(problem))
        job_id = self.job_id(result.stdout) if result.code in (0, TIMED_OUT) else None
        if job_id is None and result.code == TIMED_OUT:
            job_id = self._find(name)
        if job_id is None:
            code: int | None = result.code
            reason = ""
            if result.code == TIMED_OUT:
                code, reason = None, f"it has not ended within cmd_timeout={self.cmd_timeout:g} s, and was ended"
            elif result.code == 0:
                reason = "no job id in what it printed"
            raise SubmitException(name, command, code, result.stdout, result.stderr, script, reason)
        return job_id

    def _find(self, name: str) -> str | None:
        """The id of a job whose submit command did not answer in time, if there is such a job."""
        command = self.find_command(name)
        result = self._run(command) if command else None
        lines = map(str.strip, result.stdout.splitlines()) if result and not result.code else ()
        return next(filter(_ID.fullmatch, lines), None)  # there may be a banner before it

    # -- states

    def _refresh(self, live: Sequence[str]) -> None:
        seen: dict[str, Seen] = {}
        for some in _chunks(live, self.chunk):
            command = self.queue_command(some)
            result = self._run(command)
            if result.code == TIMED_OUT or (result.code and not self.is_nothing_listed(result)):
                raise ExecutionProviderException(f"{self.label}: {result.failure_of(command, self.cmd_timeout)}")
            seen.update(self.queue(result.stdout))
        seen = {job_id: seen[key] for job_id in live if (key := self.key(job_id)) in seen}
        left = [job_id for job_id in live if job_id not in seen]
        self._bring_back(left, ".exit")
        ended = self._ended(left) if left else {}
        self._bring_back([*ended, *(job_id for job_id, job in seen.items() if is_over(job))], ".exit", ".out", ".err")
        now = monotonic()
        waiting = [i for i, job in seen.items() if job.state in (JobState.PENDING, JobState.HELD)]
        reasons = self.reasons(waiting) if waiting and self._may_ask(now) else {}
        with self._lock:
            for job_id in live:
                job = self._jobs[job_id]
                if job_id in seen:
                    job.unlisted_since = None
                    self._take(job_id, job, with_reason(seen[job_id], reasons.get(self.key(job_id)), job.last))
                elif job_id in ended:
                    self._take(job_id, job, ended[job_id])
                else:
                    self._unlisted(job_id, job, now)

    def _may_ask(self, now: float) -> bool:
        with self._lock:
            is_time = now - self._asked >= _REASONS_S
            if is_time:
                self._asked = now
            return is_time

    def _take(self, job_id: str, job: _Job, seen: Seen) -> None:
        if seen.state is JobState.UNKNOWN and seen.reason not in self._told:
            self._told.add(seen.reason)
            log.warning("%s: job %s: %s; it counts as alive (told once)", self.label, job_id, seen.reason)
        if seen.exit_code is None and is_over(seen):
            end = self._last_act(job)
            seen = seen._replace(exit_code=end.exit_code if end is not None else None)
        if seen.state is JobState.FAILED and job.is_cancelled:
            seen = seen._replace(state=JobState.CANCELLED)
        job.last = seen

    def _unlisted(self, job_id: str, job: _Job, now: float) -> None:
        """Neither the queue nor the history have it: it is not there yet, or nobody will ever know."""
        if job.unlisted_since is None:
            job.unlisted_since = now
        if now - job.unlisted_since < _UNLISTED_S:
            return
        state = JobState.CANCELLED if job.is_cancelled else JobState.FAILED
        witnesses = ", not ".join([*self.extras, "the file that its script leaves unless it is killed"])
        why = f"it left the queue, and for {_UNLISTED_S:.0f} s nothing has told how it ended: not {witnesses}"
        job.last = Seen(state, why)
        log.warning("%s: job %s: %s", self.label, job_id, job.last.reason)

    def _ended(self, job_ids: Sequence[str]) -> Mapping[str, Seen]:
        """How jobs that have left the queue ended: by the scheduler's memory, else by what they left behind."""
        remembered = self.history(job_ids)
        found = {job_id: remembered[key] for job_id in job_ids if (key := self.key(job_id)) in remembered}
        for job_id in job_ids:
            with self._lock:
                job = self._jobs[job_id]
            if job_id not in found and (end := self._last_act(job)) is not None:
                found[job_id] = end
        return found

    def bring_output(self, job_ids: Sequence[str]) -> None:
        """What jobs that may still run have written so far is here, too. Raises ChannelError."""
        self._bring_back(job_ids, ".out", ".err")

    def _bring_back(self, job_ids: Sequence[str], *suffixes: str) -> None:
        """Copies what jobs have left on the scheduler's machine, if that is not this one. Raises ChannelError."""
        if self._remote is None:
            return
        with self._lock:
            bases = [self._jobs[job_id].base for job_id in job_ids if self._jobs[job_id].base]
        for base in bases:
            for suffix in suffixes:
                self._remote.fetch(os.path.basename(base) + suffix, base + suffix, _OUTPUT_BYTES)

    def _last_act(self, job: _Job) -> Seen | None:
        """What the script itself has written at its end; None: nothing, or not yet."""
        try:
            with open(f"{job.base}.exit" if job.base else "", encoding="ascii") as file:
                code, seconds = map(int, file.read().split())
        except (OSError, ValueError):
            return None
        return ended_with(code, seconds, self.walltime.seconds)

    def _status(self, job_id: str, job: _Job | None) -> JobStatus:
        if job is None:
            return JobStatus(JobState.UNKNOWN, f"this provider has not submitted {job_id!r}")
        with self._lock:
            state, reason, code = job.last
        out, err = (f"{job.base}.out", f"{job.base}.err") if job.base else (None, None)
        return JobStatus(state, reason or None, code, out, err)

    def _run(self, command: str) -> CommandResult:
        return self.channel.execute_wait(command, self.cmd_timeout, _PLAIN)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_jobs": {}, "_told": set(), "_lock": None, "_remote": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._lock = threading.Lock()
        self._remote = _remote(self.channel)


def _remote(channel: Channel) -> RemoteDirectory | None:
    """Where files are on the scheduler's machine; None: where they are here."""
    return None if channel.is_shared else RemoteDirectory(channel)


def _chunks(items: Sequence[str], size: int) -> list[Sequence[str]]:
    return [items[start : start + size] for start in range(0, len(items), size)]
