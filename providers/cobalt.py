"""Cobalt: qsub, qstat, qdel. It remembers no job that has left the queue: what the script leaves behind tells."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence

from parsl_pool import checks
from parsl_pool.providers.channels.base import Channel, CommandResult
from parsl_pool.providers.cluster import ClusterProvider, JobRequest
from parsl_pool.providers.launchers import LauncherLike
from parsl_pool.providers.node_launchers import AprunLauncher
from parsl_pool.providers.seen import Seen
from parsl_pool.providers.states import JobState

_STATES = {
    "queued": JobState.PENDING,
    "starting": JobState.PENDING,
    "running": JobState.RUNNING,
    "killing": JobState.RUNNING,
    "exiting": JobState.RUNNING,
    "user_hold": JobState.HELD,
    "admin_hold": JobState.HELD,
    "dep_hold": JobState.HELD,
    "dep_fail": JobState.HELD,
    "maxrun_hold": JobState.HELD,
}
_LINE = re.compile(r"\s*(?P<id>\d+)\s+(?P<state>[a-z_]+)\s*")


class CobaltProvider(ClusterProvider):
    """Blocks as jobs of Cobalt.

    Args:
        account, queue: as qsub's -A and -q; None: not said.
        scheduler_options: lines that begin with ``#COBALT``.
        others: see `ClusterProvider`.
    """

    name = "cobalt"
    default_launcher = AprunLauncher
    plain_path = re.compile(".+", re.DOTALL)  # they stand on the command line

    def __init__(
        self,
        channel: Channel | None = None,
        nodes_per_block: int = 1,
        init_blocks: int = 0,
        min_blocks: int = 0,
        max_blocks: int = 1,
        parallelism: float = 1,
        walltime: str | float = "00:10:00",
        account: str | None = None,
        queue: str | None = None,
        scheduler_options: str = "",
        worker_init: str = "",
        launcher: LauncherLike | None = None,
        cmd_timeout: float = 10,
    ) -> None:
        super().__init__(
            channel=channel, nodes_per_block=nodes_per_block, init_blocks=init_blocks, min_blocks=min_blocks,
            max_blocks=max_blocks, parallelism=parallelism, walltime=walltime,
            launcher=launcher, scheduler_options=scheduler_options,
            worker_init=worker_init, cmd_timeout=cmd_timeout,
        )  # fmt: skip
        self.account = checks.optional(checks.name)("account", account)
        self.queue_name = checks.optional(checks.name)("queue", queue)

    def directives(self, job: JobRequest) -> Sequence[str]:
        return []  # qsub takes them on its command line

    def submit_command(self, script: str) -> str:
        base = script.removesuffix(".sh")
        options = {
            "-n": self.nodes_per_block,
            "-t": self.walltime.minutes,
            "-o": f"{base}.out",
            "-e": f"{base}.err",
            "--debuglog": f"{base}.log",
            "--jobname": base.rpartition("/")[2],
            "-A": self.account,
            "-q": self.queue_name,
        }
        words = [f"{name} {shlex.quote(str(value))}" for name, value in options.items() if value is not None]
        return f"qsub {' '.join(words)} {shlex.quote(script)}"

    def job_id(self, stdout: str) -> str | None:
        found = re.findall(r"^\s*(\d+)\s*$", stdout, re.MULTILINE)
        return found[-1] if found else None

    def find_command(self, job_name: str) -> str:
        return f"qstat --header JobName:JobID | awk '$1 == \"{job_name}\" {{print $2}}'"

    def queue_command(self, job_ids: Sequence[str]) -> str:
        return f"qstat --header JobID:State {' '.join(job_ids)}"

    def is_nothing_listed(self, result: CommandResult) -> bool:
        return not result.stderr.strip() or "No jobs found" in result.stdout + result.stderr

    def queue(self, stdout: str) -> Mapping[str, Seen]:
        found = {}
        for line in map(_LINE.fullmatch, stdout.splitlines()):
            if line:
                word = line["state"]
                state = _STATES.get(word, JobState.UNKNOWN)
                known = word if word in _STATES else f"qstat says {word}, a state that is not known here"
                found[line["id"]] = Seen(state, known)
        return found

    def cancel_command(self, job_ids: Sequence[str]) -> str:
        return f"qdel {' '.join(job_ids)}"
