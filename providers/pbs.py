"""What PBS Professional (OpenPBS) and Torque share: qsub, qstat -f, qdel.

`qstat -f` prints a record a job: "Job Id: 12.server", then "    name = value", long values going on after a tab (which
some way in between may have made blanks).
States: qstat(1). Exit statuses below 0 are the server's own: PBS Professional's Administrator's Guide, "Job Exit Status
Codes"; Torque's, "Exit statuses".
"""

from __future__ import annotations

import re
import shlex
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

from parsl_pool import checks
from parsl_pool.providers.channels.base import CommandResult
from parsl_pool.providers.cluster import ClusterProvider, JobRequest
from parsl_pool.providers.seen import Seen
from parsl_pool.providers.states import JobState

_STATES = {
    "Q": JobState.PENDING,
    "W": JobState.PENDING,
    "T": JobState.PENDING,
    "H": JobState.HELD,
    "S": JobState.HELD,
    "U": JobState.HELD,
    "R": JobState.RUNNING,
    "E": JobState.RUNNING,
    "B": JobState.RUNNING,
}
_ENDED = {"F", "C", "X"}
_ID = re.compile(r"^(?P<id>\d+(?:\[\d*\])?(?:\.[\w.-]+)?)\s*$", re.MULTILINE | re.ASCII)
_RECORD = re.compile(r"^Job Id:\s*(\S+)\s*$", re.MULTILINE)
_FACT = re.compile(r"^\s+(\w[\w.]*) = (.*)$", re.MULTILINE)
_BROKEN = re.compile(r"\n(?:\t| {6,})")


class PBSFamilyProvider(ClusterProvider):
    """Base of the two."""

    over_walltime: frozenset[int] = frozenset()
    """The exit statuses of jobs that have reached their walltime."""

    def __init__(self, *, account: str | None, queue: str | None, **options: Any) -> None:
        super().__init__(**options)
        self.account = checks.optional(checks.name)("account", account)
        self.queue_name = checks.optional(checks.name)("queue", queue)

    @abstractmethod
    def resources(self, job: JobRequest) -> str:
        """What stands after ``#PBS -l`` to ask for the nodes."""

    def directives(self, job: JobRequest) -> Sequence[str]:
        lines = [
            "#PBS -S /bin/bash",
            f"#PBS -N {job.name}",
            f"#PBS -o {job.stdout}",
            f"#PBS -e {job.stderr}",
            f"#PBS -l walltime={self.walltime}",
            f"#PBS -l {self.resources(job)}",
        ]
        options = {"A": self.account, "q": self.queue_name}
        return [*lines, *(f"#PBS -{letter} {value}" for letter, value in options.items() if value is not None)]

    def submit_command(self, script: str) -> str:
        return f"qsub {shlex.quote(script)}"

    def job_id(self, stdout: str) -> str | None:
        found = _ID.findall(stdout)
        return found[-1] if found else None

    def key(self, job_id: str) -> str:
        return job_id.partition(".")[0]  # servers shorten what follows, or lengthen it

    def find_command(self, job_name: str) -> str:
        return f"qselect -N {shlex.quote(job_name)}"

    def is_nothing_listed(self, result: CommandResult) -> bool:
        """qstat fails if it does not know one of the jobs, and lists the others all the same."""
        problems = [line for line in result.stderr.splitlines() if line.startswith("qstat:")]
        return bool(problems) and all("Unknown Job" in line or "has finished" in line for line in problems)

    def queue(self, stdout: str) -> Mapping[str, Seen]:
        parts = _RECORD.split(_BROKEN.sub("", stdout))
        return {
            self.key(job_id): self._seen(dict(_FACT.findall(text))) for job_id, text in zip(parts[1::2], parts[2::2])
        }

    def _seen(self, facts: Mapping[str, str]) -> Seen:
        letter, comment = facts.get("job_state", "").strip(), facts.get("comment", "").strip()
        if letter not in _ENDED:
            state = _STATES.get(letter, JobState.UNKNOWN)
            if state is JobState.UNKNOWN:
                return Seen(state, f"qstat says {letter or 'nothing'}, a state that is not known here")
            return Seen(state, comment or letter)
        try:
            code = int(facts.get("Exit_status", facts.get("exit_status", "")))
        except ValueError:  # deleted before it ran
            return Seen(JobState.CANCELLED, comment or "it ended without having run")
        if code in self.over_walltime or (code and _has_used_its_time(facts)):
            return Seen(JobState.TIMEOUT, comment or "it has reached its walltime", code)
        state = JobState.COMPLETED if code == 0 else JobState.FAILED
        return Seen(state, comment or f"exit status {code}", code)

    def cancel_command(self, job_ids: Sequence[str]) -> str:
        return f"qdel {' '.join(map(shlex.quote, job_ids))}"


def _has_used_its_time(facts: Mapping[str, str]) -> bool:
    """Servers seldom say so: the exit status is that of the signal, or what the script made of that."""
    used, limit = (_seconds(facts.get(name, "")) for name in ("resources_used.walltime", "Resource_List.walltime"))
    return used is not None and limit is not None and used >= limit


def _seconds(text: str) -> int | None:
    parts = text.strip().split(":")
    if not 1 <= len(parts) <= 4 or not all(part.isdecimal() for part in parts):
        return None
    return sum(int(part) * size for part, size in zip(reversed(parts), (1, 60, 3600, 86400)))
