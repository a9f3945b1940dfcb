"""Grid Engine and its kin: qsub, qstat, qdel; qacct for jobs that have ended.

States: qstat(1), "OUTPUT FORMATS", column state: letters; an E among them is an error that someone must clear.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence

from parsl_pool import checks
from parsl_pool.providers.channels.base import Channel
from parsl_pool.providers.cluster import ClusterProvider, JobRequest
from parsl_pool.providers.launchers import LauncherLike
from parsl_pool.providers.seen import Seen
from parsl_pool.providers.states import JobState

_LINE = re.compile(r"\s*(?P<id>\d+)\s+[\d.]+\s+\S+\s+\S+\s+(?P<state>[a-zA-Z]+)\s+\d\d/\d\d/\d{4}\s.*")
_OWN_HOST = re.compile(r"^#\$.*\s-l\s.*\bh(?:ostname)?=", re.MULTILINE)
_ID = re.compile(r"^Your job (?P<id>\d+) ", re.MULTILINE)
_RECORD = re.compile(r"^=+$", re.MULTILINE)
_NUMBER = re.compile(r"^job_number:\s+(\d+)", re.MULTILINE)
_WHY = re.compile(r"^(?:error reason\s+\d+|scheduling info):\s+(.+)", re.MULTILINE)
_KILLED_BY_LIMIT = 37  # "qmaster enforced h_rt, h_cpu, or h_vmem limit": sge_status(5)
_ENDED_BY_SIGNAL = 100  # "assumedly after job": ended by a signal, or deleted


class GridEngineProvider(ClusterProvider):
    """Blocks as jobs of Grid Engine.

    Args:
        queue: as qsub's -q; None: no directive.
        scheduler_options: lines that begin with ``#$``; a parallel environment for several nodes among them.
        others: see `ClusterProvider`.
    """

    name = "grid_engine"
    extras = ("qacct",)

    def __init__(
        self,
        channel: Channel | None = None,
        nodes_per_block: int = 1,
        init_blocks: int = 1,
        min_blocks: int = 0,
        max_blocks: int = 1,
        parallelism: float = 1,
        walltime: str | float = "00:10:00",
        scheduler_options: str = "",
        worker_init: str = "",
        launcher: LauncherLike | None = None,
        cmd_timeout: float = 60,
        queue: str | None = None,
    ) -> None:
        super().__init__(
            channel=channel, nodes_per_block=nodes_per_block, init_blocks=init_blocks, min_blocks=min_blocks,
            max_blocks=max_blocks, parallelism=parallelism, walltime=walltime,
            launcher=launcher, scheduler_options=scheduler_options,
            worker_init=worker_init, cmd_timeout=cmd_timeout,
        )  # fmt: skip
        self.queue_name = checks.optional(checks.name)("queue", queue)

    def directives(self, job: JobRequest) -> Sequence[str]:
        lines = [
            f"#$ -N {job.name}",
            "#$ -S /bin/bash",
            "#$ -V",
            f"#$ -o {job.stdout}",
            f"#$ -e {job.stderr}",
            f"#$ -l h_rt={self.walltime}",
        ]
        if self.excluded:
            lines.append(f"#$ -l h={'&'.join(f'!{node}' for node in self.excluded)}")
        return [*lines, *[f"#$ -q {self.queue_name}"] * bool(self.queue_name)]

    def node_of(self, host: str) -> str | None:
        """Grid Engine may know it by its whole name, or by the first part."""
        if _OWN_HOST.search(self.scheduler_options):
            return None  # the last such request alone counts
        result = self._run("qconf -sel")  # qhost cuts names off
        known = [] if result.code else result.stdout.split()
        names = (host.lower(), host.lower().partition(".")[0])
        return next((node for name in names for node in known if name in (node, node.partition(".")[0])), None)

    def submit_command(self, script: str) -> str:
        return f"qsub {shlex.quote(script)}"

    def job_id(self, stdout: str) -> str | None:
        found = _ID.search(stdout)
        return found["id"] if found else None

    def find_command(self, job_name: str) -> str:
        return f"qstat -j {shlex.quote(job_name)} | sed -n 's/^job_number: *//p'"  # qstat alone cuts names off

    def queue_command(self, job_ids: Sequence[str]) -> str:
        return 'qstat -u "$(id -un)"'

    def queue(self, stdout: str) -> Mapping[str, Seen]:
        lines = map(_LINE.fullmatch, stdout.splitlines())
        return {line["id"]: Seen(_state(line["state"]), line["state"]) for line in lines if line}

    def reasons(self, job_ids: Sequence[str]) -> Mapping[str, str]:
        result = self._run(f"qstat -j {','.join(job_ids)}")
        records = [(_NUMBER.search(text), _WHY.search(text)) for text in _RECORD.split(result.stdout)]
        return {number[1]: why[1].strip() for number, why in records if number and why}

    def history(self, job_ids: Sequence[str]) -> Mapping[str, Seen]:
        """By qacct, which takes one job at a time, and knows a job some seconds after its end."""
        found = {}
        for job_id in job_ids:
            result = self._run(f"qacct -j {job_id}")
            facts = dict(re.findall(r"^(failed|exit_status)\s+(\d+.*?)\s*$", result.stdout, re.MULTILINE))
            if result.code == 0 and len(facts) == 2:
                found[job_id] = _ended(facts["failed"], int(facts["exit_status"].split()[0]))
        return found

    def cancel_command(self, job_ids: Sequence[str]) -> str:
        return f"qdel {' '.join(job_ids)}"


def _state(letters: str) -> JobState:
    if "E" in letters or letters[0] == "h" or set(letters) & set("sST"):
        return JobState.HELD
    if "w" in letters:
        return JobState.PENDING
    return JobState.RUNNING if set(letters) & set("rtd") else JobState.UNKNOWN


def _ended(failed: str, code: int) -> Seen:
    number = int(failed.split()[0])
    why = failed.partition(":")[2].strip()
    if number == _KILLED_BY_LIMIT:
        return Seen(JobState.TIMEOUT, why, code)
    if number and number != _ENDED_BY_SIGNAL:
        return Seen(JobState.FAILED, f"{why} (failed {number})", code)
    state = JobState.COMPLETED if code == 0 else JobState.FAILED
    return Seen(state, why or f"exit code {code}", code)
