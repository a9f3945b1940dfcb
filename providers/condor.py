"""HTCondor: condor_submit, condor_q, condor_rm; condor_history for jobs that have left the queue.

One block is one cluster of jobs, with a process for each node. Statuses: HTCondor Manual, "JobStatus".
"""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from parsl_pool import checks
from parsl_pool.errors import ConfigurationError, shown
from parsl_pool.providers.channels.base import Channel
from parsl_pool.providers.cluster import ClusterProvider, JobRequest
from parsl_pool.providers.launchers import LauncherLike
from parsl_pool.providers.seen import Seen
from parsl_pool.providers.states import JobState

_IDLE, _RUNNING, _REMOVED, _COMPLETED, _HELD, _TRANSFERRING, _SUSPENDED = range(1, 8)
_STATES = {
    _IDLE: JobState.PENDING,
    _RUNNING: JobState.RUNNING,
    _REMOVED: JobState.CANCELLED,
    _COMPLETED: JobState.COMPLETED,
    _HELD: JobState.HELD,
    _TRANSFERRING: JobState.RUNNING,
    _SUSPENDED: JobState.HELD,
}
_OVER_WALLTIME = "the block has reached its walltime"
_ID = re.compile(r"submitted to cluster (?P<id>\d+)\.")
_OWN_REQUIREMENTS = re.compile(r"^\s*requirements\s*=", re.MULTILINE | re.IGNORECASE)  # the last such line counts
# The commas of -af:, are followed by the blank that stands between fields anyway.
_LINE = re.compile(r"(?P<id>\d+),\s*(?P<process>\d+),\s*(?P<status>\d+),\s*(?P<code>[^,]*),\s*(?P<reason>.*)")
_FIELDS = "-af:, ClusterId ProcId JobStatus ExitCode"
_STATE_ORDER = [JobState.RUNNING, JobState.PENDING, JobState.HELD, JobState.UNKNOWN, JobState.TIMEOUT,
                JobState.FAILED, JobState.CANCELLED, JobState.COMPLETED]  # fmt: skip


class CondorProvider(ClusterProvider):
    """Blocks as jobs of HTCondor.

    Args:
        cores_per_slot, mem_per_slot: what to ask for on each node; the memory in GB.
        environment: variables of the jobs' environment.
        project: the accounting's ``+ProjectName``; "": none.
        scheduler_options: lines of the submit description.
        transfer_input_files: files of this machine that each job gets.
        requirements: the expression that a machine must satisfy.
        cmd_chunk_size: job ids in one command line.
        others: see `ClusterProvider`.
    """

    name = "condor"
    has_directives = False  # what is asked for stands in a file beside the script
    extras = ("condor_history",)
    plain_path = re.compile(r"[^\n]+")

    def __init__(
        self,
        channel: Channel | None = None,
        nodes_per_block: int = 1,
        cores_per_slot: int | None = None,
        mem_per_slot: float | None = None,
        init_blocks: int = 1,
        min_blocks: int = 0,
        max_blocks: int = 1,
        parallelism: float = 1,
        environment: Mapping[str, str] | None = None,
        project: str = "",
        scheduler_options: str = "",
        transfer_input_files: Sequence[str | os.PathLike[str]] = (),
        walltime: str | float = "00:10:00",
        worker_init: str = "",
        launcher: LauncherLike | None = None,
        requirements: str = "",
        cmd_timeout: float = 60,
        cmd_chunk_size: int = 100,
    ) -> None:
        super().__init__(
            channel=channel, nodes_per_block=nodes_per_block, init_blocks=init_blocks, min_blocks=min_blocks,
            max_blocks=max_blocks, parallelism=parallelism, walltime=walltime,
            launcher=launcher, scheduler_options=scheduler_options,
            worker_init=worker_init, cmd_timeout=cmd_timeout,
        )  # fmt: skip
        self.cores_per_slot = checks.optional(checks.whole(least=1))("cores_per_slot", cores_per_slot)
        self.mem_per_slot = checks.optional(checks.number(above=0, most=1e9))("mem_per_slot", mem_per_slot)
        self.environment = _environment(environment)
        self.project = checks.any_text("project", project)
        self.transfer_input_files = checks.list_of(checks.path, "a list of paths")(
            "transfer_input_files", transfer_input_files
        )
        self.requirements = checks.any_text("requirements", requirements)
        self.chunk = checks.whole(least=1)("cmd_chunk_size", cmd_chunk_size)

    @property
    def cores_per_node(self) -> int | None:  # type: ignore[override]  # what the base's users read
        return self.cores_per_slot

    @property
    def mem_per_node(self) -> float | None:  # type: ignore[override]  # as above
        return self.mem_per_slot

    def directives(self, job: JobRequest) -> Sequence[str]:
        return []  # they stand in a file of their own

    def description(self, job: JobRequest, script: str) -> str:
        """The submit description: condor_submit(1)."""
        memory = self.mem_per_slot and f"{self.mem_per_slot * 1024:.0f}"
        limit = f"JobStatus == {_RUNNING} && time() - EnteredCurrentStatus > {self.walltime.seconds}"
        facts = {
            "universe": "vanilla",
            "batch_name": job.name,
            "executable": script,
            "output": job.stdout,
            "error": job.stderr,
            "log": f"{job.stdout.removesuffix('.out')}.log",
            "request_cpus": self.cores_per_slot,
            "request_memory": memory,
            "environment": _quoted(self.environment) if self.environment else None,
            "should_transfer_files": "YES" if self.transfer_input_files else None,
            "transfer_input_files": ", ".join(self.transfer_input_files) or None,
            "requirements": self._requirements() or None,
            "+ProjectName": f'"{self.project}"' if self.project else None,
            "periodic_remove": limit,
            "periodic_remove_reason": f'"{_OVER_WALLTIME}"',
            "leave_in_queue": "False",
        }
        lines = [f"{name} = {value}" for name, value in facts.items() if value is not None]
        return "\n".join([*lines, *self.scheduler_options.splitlines(), f"queue {job.nodes}", ""])

    def _requirements(self) -> str:
        """Machines are known by their whole names, and hosts may tell the first part alone."""
        bad = [f'!regexp("^{node}([.]|$)", TARGET.Machine, "i")' for node in self.excluded]
        wanted = f"({self.requirements})" if bad and self.requirements.strip() else self.requirements
        return " && ".join(filter(None, [wanted, *bad]))

    def node_of(self, host: str) -> str | None:
        """The first part of its name. That no machine has it does no harm."""
        return None if _OWN_REQUIREMENTS.search(self.scheduler_options) else host.partition(".")[0]

    def submit_command(self, script: str) -> str:
        return f"condor_submit {shlex.quote(script.removesuffix('.sh') + '.submit')}"

    def job_id(self, stdout: str) -> str | None:
        found = _ID.search(stdout)
        return found["id"] if found else None

    def find_command(self, job_name: str) -> str:
        constraint = shlex.quote(f'JobBatchName == "{job_name}"')
        return f"condor_q -constraint {constraint} -af ClusterId"

    def queue_command(self, job_ids: Sequence[str]) -> str:
        return f"condor_q {' '.join(job_ids)} {_FIELDS} HoldReason"

    def queue(self, stdout: str) -> Mapping[str, Seen]:
        return _clusters(stdout)

    def history(self, job_ids: Sequence[str]) -> Mapping[str, Seen]:
        result = self._run(f"condor_history {' '.join(job_ids)} {_FIELDS} RemoveReason")
        return _clusters(result.stdout) if result.code == 0 else {}

    def cancel_command(self, job_ids: Sequence[str]) -> str:
        return f"condor_rm {' '.join(job_ids)}"


def _clusters(stdout: str) -> dict[str, Seen]:
    """A cluster's state is that of the process which is furthest from its end."""
    found: dict[str, list[Seen]] = {}
    for line in map(_LINE.fullmatch, map(str.strip, stdout.splitlines())):
        if line:
            found.setdefault(line["id"], []).append(_seen(line))
    return {job_id: min(seen, key=lambda one: _STATE_ORDER.index(one.state)) for job_id, seen in found.items()}


def _seen(line: re.Match[str]) -> Seen:
    status, reason = int(line["status"]), line["reason"].strip()
    reason = "" if reason == "undefined" else reason
    state = _STATES.get(status, JobState.UNKNOWN)
    if state is JobState.UNKNOWN:
        return Seen(state, f"condor_q says {status}, a status that is not known here")
    code = int(line["code"]) if line["code"].strip().lstrip("-").isdigit() else None
    if state is JobState.COMPLETED and code:
        return Seen(JobState.FAILED, f"exit code {code}", code)
    if state is JobState.CANCELLED and _OVER_WALLTIME in reason:
        return Seen(JobState.TIMEOUT, reason)
    return Seen(state, reason, code)


def _environment(value: Mapping[str, str] | None) -> dict[str, str]:
    if value is None:
        return {}
    found = checks.mapping("environment", value)
    for name, text in found.items():
        if "\n" in name + text:
            raise ConfigurationError(f"environment must have no line breaks, got {shown(found)}")
    return found


def _quoted(environment: Mapping[str, Any]) -> str:
    """In HTCondor's new syntax: blanks in single quotes, both kinds of quotes doubled."""
    parts = (f"{name}='{value.replace(chr(39), chr(39) * 2)}'" for name, value in environment.items())
    return '"' + " ".join(parts).replace('"', '""') + '"'
