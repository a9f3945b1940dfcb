"""Slurm: sbatch, squeue, scancel; sacct and scontrol for jobs that have left the queue.

States: squeue(1), "JOB STATE CODES". Options of directives: sbatch(1).
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence

from parsl_pool import checks
from parsl_pool.providers.channels.base import Channel, CommandResult
from parsl_pool.providers.cluster import ClusterProvider, JobRequest
from parsl_pool.providers.launchers import LauncherLike
from parsl_pool.providers.seen import Seen
from parsl_pool.providers.states import JobState

_STATES = {
    "PENDING": JobState.PENDING,
    "CONFIGURING": JobState.PENDING,
    "REQUEUED": JobState.PENDING,
    "REQUEUE_FED": JobState.PENDING,
    "RUNNING": JobState.RUNNING,
    "COMPLETING": JobState.RUNNING,
    "STAGE_OUT": JobState.RUNNING,
    "SIGNALING": JobState.RUNNING,
    "RESIZING": JobState.RUNNING,
    "SUSPENDED": JobState.HELD,
    "STOPPED": JobState.HELD,
    "RESV_DEL_HOLD": JobState.HELD,
    "REQUEUE_HOLD": JobState.HELD,
    "SPECIAL_EXIT": JobState.HELD,
    "COMPLETED": JobState.COMPLETED,
    "CANCELLED": JobState.CANCELLED,
    "TIMEOUT": JobState.TIMEOUT,
    "DEADLINE": JobState.TIMEOUT,
    "FAILED": JobState.FAILED,
    "NODE_FAIL": JobState.FAILED,
    "BOOT_FAIL": JobState.FAILED,
    "OUT_OF_MEMORY": JobState.FAILED,
    "PREEMPTED": JobState.FAILED,
    "REVOKED": JobState.FAILED,
}
_OWN_EXCLUDE = re.compile(r"^#SBATCH\s+(?:--exclude\b|-x)", re.MULTILINE)
_HOLDS = {"JobHeldUser", "JobHeldAdmin"}
_CLUSTERS = re.compile(r"^#SBATCH\s+(?:--clusters?[=\s]\s*|-M\s*)(\S+)", re.MULTILINE)
_LINE = re.compile(r"(?P<id>\d+)\|(?P<state>[A-Z_]+)[^|]*\|(?P<reason>[^|]*)(?:\|(?P<code>\d+):(?P<signal>\d+))?\s*")


class SlurmProvider(ClusterProvider):
    """Blocks as jobs of Slurm.

    Args:
        partition, account, qos, constraint: as sbatch's options of these names; None: no directive.
        cores_per_node: cores to ask for on each node; None: what `exclusive` or the site gives.
        mem_per_node: memory to ask for on each node, in GB; None: the site's default.
        exclusive: the job shares its nodes with nobody.
        regex_job_id: finds the group ``id`` in what sbatch prints.
        move_files: accepted for configurations written for Parsl; the channel knows.
        others: see `ClusterProvider`.
    """

    name = "slurm"
    extras = ("sacct",)
    plain_path = re.compile(r'[^"\\\n]+')  # in quotes; a backslash would turn off all placeholders, and our %% too

    def __init__(
        self,
        partition: str | None = None,
        account: str | None = None,
        qos: str | None = None,
        constraint: str | None = None,
        channel: Channel | None = None,
        nodes_per_block: int = 1,
        cores_per_node: int | None = None,
        mem_per_node: float | None = None,
        init_blocks: int = 1,
        min_blocks: int = 0,
        max_blocks: int = 1,
        parallelism: float = 1,
        walltime: str | float = "00:10:00",
        scheduler_options: str = "",
        regex_job_id: str = r"Submitted batch job (?P<id>\S*)",
        worker_init: str = "",
        cmd_timeout: float = 10,
        exclusive: bool = True,
        move_files: bool = True,
        launcher: LauncherLike | None = None,
    ) -> None:
        super().__init__(
            channel=channel, nodes_per_block=nodes_per_block, init_blocks=init_blocks, min_blocks=min_blocks,
            max_blocks=max_blocks, parallelism=parallelism, walltime=walltime,
            launcher=launcher, scheduler_options=scheduler_options,
            worker_init=worker_init, cmd_timeout=cmd_timeout,
        )  # fmt: skip
        words = checks.optional(checks.name)
        self.partition, self.account = words("partition", partition), words("account", account)
        self.qos, self.constraint = words("qos", qos), words("constraint", constraint)
        self.cores_per_node = checks.optional(checks.whole(least=1))("cores_per_node", cores_per_node)
        self.mem_per_node = checks.optional(checks.number(above=0, most=1e9))("mem_per_node", mem_per_node)
        self.exclusive = checks.flag("exclusive", exclusive)
        self.move_files = checks.flag("move_files", move_files)
        self.regex_job_id = _JOB_ID("regex_job_id", regex_job_id)
        clusters = _CLUSTERS.findall(self.scheduler_options)
        self._where = f" --clusters={shlex.quote(clusters[-1])}" if clusters else ""  # else no command finds the jobs

    def directives(self, job: JobRequest) -> Sequence[str]:
        options = {
            "job-name": job.name,
            "output": _pattern(job.stdout),
            "error": _pattern(job.stderr),
            "nodes": job.nodes,
            "ntasks-per-node": job.tasks_per_node,
            "time": self.walltime,
            "partition": self.partition,
            "account": self.account,
            "qos": self.qos,
            "constraint": self.constraint,
            "cpus-per-task": self.cores_per_node and max(1, self.cores_per_node // job.tasks_per_node),
            "mem": self.mem_per_node and f"{self.mem_per_node * 1024:.0f}M",
            "exclude": ",".join(self.excluded) or None,
        }
        lines = [f"#SBATCH --{name}={value}" for name, value in options.items() if value is not None]
        # Whoever asked for a block that is lost asks for another one, if it still needs one.
        return [*lines, "#SBATCH --no-requeue", *["#SBATCH --exclusive"] * self.exclusive]

    def node_of(self, host: str) -> str | None:
        """Nodes have the first part of their host's name; sbatch would refuse one that Slurm does not know."""
        if _OWN_EXCLUDE.search(self.scheduler_options):
            return None  # the last such line alone counts
        node = host.partition(".")[0]
        return None if self._run(f"scontrol{self._where} show node {node}").code else node

    def submit_command(self, script: str) -> str:
        return f"sbatch {shlex.quote(script)}"

    def job_id(self, stdout: str) -> str | None:
        found = re.search(self.regex_job_id, stdout)
        return found["id"] or None if found else None

    def find_command(self, job_name: str) -> str:
        return f"squeue{self._where} --noheader --states=all --format=%i --name={shlex.quote(job_name)}"

    def queue_command(self, job_ids: Sequence[str]) -> str:
        return f"squeue{self._where} --noheader --states=all --format='%i|%T|%r' --jobs={','.join(job_ids)}"

    def is_nothing_listed(self, result: CommandResult) -> bool:
        return "Invalid job id" in result.stderr

    def queue(self, stdout: str) -> Mapping[str, Seen]:
        return {line["id"]: _seen(line) for text in stdout.splitlines() if (line := _LINE.fullmatch(text.strip()))}

    def history(self, job_ids: Sequence[str]) -> Mapping[str, Seen]:
        """By sacct, where accounting is on; slurmctld itself forgets a job soon after it has left squeue."""
        result = self._run(
            f"sacct{self._where} --noheader --parsable2 --allocations --format=JobID,State,Reason,ExitCode "
            f"--jobs={','.join(job_ids)}"
        )
        return self.queue(result.stdout) if result.code == 0 else {}

    def cancel_command(self, job_ids: Sequence[str]) -> str:
        return f"scancel{self._where} {' '.join(job_ids)}"


def _regex_with_id(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError
    try:
        groups = re.compile(value).groupindex
    except re.error as problem:
        raise ValueError(str(problem)) from None
    if "id" not in groups:
        raise ValueError
    return value


_JOB_ID = checks.Rule("a regular expression", "a regular expression with a group (?P<id>...)", _regex_with_id)


def _seen(line: re.Match[str]) -> Seen:
    word, reason = line["state"], line["reason"]
    state = _STATES.get(word, JobState.UNKNOWN)
    if state is JobState.UNKNOWN:
        reason = f"squeue says {word}, a state that is not known here"
    elif state is JobState.PENDING and reason in _HOLDS:
        state = JobState.HELD
    elif reason in ("None", ""):
        reason = word
    elif state is JobState.FAILED and word != "FAILED":
        reason = f"{word}, {reason}"
    code = None if line["code"] is None else int(line["code"]) or (int(line["signal"]) and 128 + int(line["signal"]))
    return Seen(state, reason, code)


def _pattern(path: str) -> str:
    """A path for --output: quoted, and % not taken for a placeholder (sbatch(1), "filename pattern")."""
    return '"' + path.replace("%", "%%") + '"'
