"""LSF: bsub, bjobs, bkill; bhist for jobs that have left the queue. States: bjobs(1)."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence

from parsl_pool import checks
from parsl_pool.errors import ConfigurationError
from parsl_pool.providers.channels.base import Channel, CommandResult
from parsl_pool.providers.cluster import ClusterProvider, JobRequest
from parsl_pool.providers.launchers import LauncherLike
from parsl_pool.providers.seen import Seen
from parsl_pool.providers.states import JobState

_STATES = {
    "PEND": JobState.PENDING,
    "PROV": JobState.PENDING,
    "WAIT": JobState.PENDING,
    "RUN": JobState.RUNNING,
    "DONE": JobState.COMPLETED,
    "EXIT": JobState.FAILED,
    "ZOMBI": JobState.FAILED,
    "PSUSP": JobState.HELD,
    "USUSP": JobState.HELD,
    "SSUSP": JobState.HELD,
    "UNKWN": JobState.UNKNOWN,
}
_ID = re.compile(r"^Job <(?P<id>\d+)> is submitted", re.MULTILINE)
_LINE = re.compile(r"(?P<id>\d+)\|(?P<state>[A-Z]+)\|(?P<code>[^|]*)\|(?P<reason>.*)")
_WAITS = re.compile(r"^(?P<id>\d+)\s.*\n\s+(?P<reason>\S.*)", re.MULTILINE)
_KILLED = r"TERM_(?:FORCE_)?(?:OWNER|ADMIN)\b"  # by bkill: ours, or somebody else's
_HISTORY = re.compile(  # a blank at which a line was broken is gone
    r"(?P<done>Done ?successfully)|Exited ?with ?exit ?code ?(?P<code>\d+)|Exited ?by ?signal ?(?P<signal>\d+)"
    rf"|(?P<limit>TERM_RUNLIMIT)|(?P<killed>{_KILLED})|(?P<exited>Exited)[;.]"
)


class LSFProvider(ClusterProvider):
    """Blocks as jobs of LSF.

    Args:
        cores_per_block, cores_per_node: what to ask for where the site does not give whole nodes.
        project, queue: as bsub's -P and -q; None: no directive.
        bsub_redirection: ``bsub < script``, which older versions need, instead of ``bsub script``.
        request_by_nodes: ask for `nodes_per_block` nodes; False: for cores_per_block cores, cores_per_node on each.
        move_files: accepted for configurations written for Parsl; the channel knows.
        others: see `ClusterProvider`.
    """

    name = "lsf"
    extras = ("bhist",)

    def __init__(
        self,
        channel: Channel | None = None,
        nodes_per_block: int = 1,
        cores_per_block: int | None = None,
        cores_per_node: int | None = None,
        init_blocks: int = 1,
        min_blocks: int = 0,
        max_blocks: int = 1,
        parallelism: float = 1,
        walltime: str | float = "00:10:00",
        scheduler_options: str = "",
        worker_init: str = "",
        project: str | None = None,
        queue: str | None = None,
        cmd_timeout: float = 120,
        move_files: bool = True,
        bsub_redirection: bool = False,
        request_by_nodes: bool = True,
        launcher: LauncherLike | None = None,
    ) -> None:
        self.request_by_nodes = checks.flag("request_by_nodes", request_by_nodes)
        cores = checks.optional(checks.whole(least=1))
        self.cores_per_block = cores("cores_per_block", cores_per_block)
        self.cores_per_node = cores("cores_per_node", cores_per_node)
        super().__init__(
            channel=channel, nodes_per_block=self._nodes(nodes_per_block), init_blocks=init_blocks,
            min_blocks=min_blocks, max_blocks=max_blocks, parallelism=parallelism, walltime=walltime,
            launcher=launcher, scheduler_options=scheduler_options,
            worker_init=worker_init, cmd_timeout=cmd_timeout,
        )  # fmt: skip
        self.project = checks.optional(checks.name)("project", project)
        self.queue_name = checks.optional(checks.name)("queue", queue)
        self.move_files = checks.flag("move_files", move_files)
        self.bsub_redirection = checks.flag("bsub_redirection", bsub_redirection)

    def _nodes(self, asked: int) -> int:
        if self.request_by_nodes:
            return asked
        if self.cores_per_block is None or self.cores_per_node is None:
            raise ConfigurationError("request_by_nodes=False needs cores_per_block and cores_per_node")
        nodes, rest = divmod(self.cores_per_block, self.cores_per_node)
        if rest:
            raise ConfigurationError(
                f"cores_per_block={self.cores_per_block} is no multiple of cores_per_node={self.cores_per_node}"
            )
        return nodes

    def directives(self, job: JobRequest) -> Sequence[str]:
        lines = [
            f"#BSUB -J {job.name}",
            f"#BSUB -o {job.stdout}",
            f"#BSUB -e {job.stderr}",
            f"#BSUB -W {self.walltime.minutes // 60}:{self.walltime.minutes % 60:02}",
        ]
        if self.request_by_nodes:
            lines.append(f"#BSUB -nnodes {job.nodes}")
        else:
            lines += [f"#BSUB -n {self.cores_per_block}", f'#BSUB -R "span[ptile={self.cores_per_node}]"']
        if self.excluded:
            bad = " && ".join(f"hname!='{node}'" for node in self.excluded)
            lines.append(f'#BSUB -R "select[{bad}]"')  # all lines of this kind hold
        options = {"P": self.project, "q": self.queue_name}
        return [*lines, *(f"#BSUB -{letter} {value}" for letter, value in options.items() if value is not None)]

    def node_of(self, host: str) -> str | None:
        """LSF may know it by its whole name, or by the first part."""
        for name in dict.fromkeys((host, host.partition(".")[0])):
            result = self._run(f"bhosts -w {name}")
            found = re.search(rf"^{re.escape(name)}(?:\.\S+)?(?=\s)", result.stdout, re.MULTILINE | re.IGNORECASE)
            if found and not result.code:
                return found[0]
        return None

    def submit_command(self, script: str) -> str:
        return f"bsub {'< ' * self.bsub_redirection}{shlex.quote(script)}"

    def job_id(self, stdout: str) -> str | None:
        found = _ID.search(stdout)
        return found["id"] if found else None

    def find_command(self, job_name: str) -> str:
        return f"bjobs -a -noheader -o jobid -J {shlex.quote(job_name)}"

    def queue_command(self, job_ids: Sequence[str]) -> str:
        fields = "jobid stat exit_code exit_reason delimiter='|'"
        return f'bjobs -a -noheader -o "{fields}" {" ".join(job_ids)}'

    def is_nothing_listed(self, result: CommandResult) -> bool:
        problems = [line for line in result.stderr.splitlines() if line.strip()]
        return bool(problems) and all("is not found" in line for line in problems)

    def queue(self, stdout: str) -> Mapping[str, Seen]:
        lines = (_LINE.fullmatch(line.strip()) for line in stdout.splitlines())
        return {line["id"]: _seen(line) for line in lines if line}

    def reasons(self, job_ids: Sequence[str]) -> Mapping[str, str]:
        result = self._run(f"bjobs -p {' '.join(job_ids)}")
        return {found["id"]: found["reason"].strip().rstrip(";") for found in _WAITS.finditer(result.stdout)}

    def history(self, job_ids: Sequence[str]) -> Mapping[str, Seen]:
        found = {}
        for job_id in job_ids:
            result = self._run(f"bhist -l {job_id}")
            # Its lines are broken at 80 characters, in the midst of words.
            text = re.sub(r"\n\s{2,}", "", result.stdout)
            if result.code == 0 and (seen := _from_history(text)):
                found[job_id] = seen
        return found

    def cancel_command(self, job_ids: Sequence[str]) -> str:
        return f"bkill {' '.join(job_ids)}"


def _seen(line: re.Match[str]) -> Seen:
    word, reason = line["state"], line["reason"].strip(" -")
    state = _STATES.get(word, JobState.UNKNOWN)
    if state is JobState.UNKNOWN:
        return Seen(state, f"bjobs says {word}" + ("" if word in _STATES else ", a state that is not known here"))
    code = int(line["code"]) if line["code"].strip().isdigit() else 0 if state is JobState.COMPLETED else None
    if "TERM_RUNLIMIT" in reason:
        state = JobState.TIMEOUT
    elif re.search(_KILLED, reason):
        state = JobState.CANCELLED
    return Seen(state, reason or word, code)


def _from_history(text: str) -> Seen | None:
    facts: dict[str, str] = {}
    for found in _HISTORY.finditer(text):
        facts.update({name: value for name, value in found.groupdict().items() if value})
    if not facts:
        return None
    code = int(facts["code"]) if "code" in facts else 128 + int(facts["signal"]) if "signal" in facts else None
    if "limit" in facts:
        return Seen(JobState.TIMEOUT, "TERM_RUNLIMIT", code)
    if "killed" in facts:
        return Seen(JobState.CANCELLED, facts["killed"], code)
    if "done" in facts:
        return Seen(JobState.COMPLETED, "done", 0)
    return Seen(JobState.FAILED, "exited" if code is None else f"exit code {code}", code)
