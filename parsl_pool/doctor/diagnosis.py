"""From what a trial has left behind to what is wrong, in plain words, and what to do.

The chain is walked from its beginning: the first link that does not hold is the reason.

    submitted -> has begun -> worker_init -> Python -> the run's directory -> connection -> manager -> worker
"""

from __future__ import annotations

import re
from typing import Any, NamedTuple

from parsl_pool._version import __version__
from parsl_pool.doctor import preflight, probe, trial
from parsl_pool.doctor.finding import Finding, good, note, problem, warning
from parsl_pool.errors import ExecutionProviderException
from parsl_pool.providers import reasons
from parsl_pool.providers.states import JobState

_TAIL = 1500  # characters of what a job has written
_CLOCK_S = 5.0
_FEW_FILES = 256  # a manager has four for each worker


class Refusal(NamedTuple):
    """A way in which schedulers refuse a job: what they say, and what it means."""

    code: str
    pattern: re.Pattern[str]
    text: str
    remedy: str


def _refusal(code: str, pattern: str, text: str, remedy: str) -> Refusal:
    return Refusal(code, re.compile(pattern, re.IGNORECASE), text, remedy)


# Slurm's words for partitions, accounts and resources are tried on a real one; the others are from manuals.
REFUSALS = (
    _refusal(
        "command-missing", r"(command )?not found|No such file or directory.*(sbatch|qsub|bsub|condor_submit)",
        "the scheduler's submit command is not there",
        "run this where it is (a login node), load its module first, or give the provider a channel= to such a machine",
    ),
    _refusal(
        "scheduler-silent", r"has not ended within cmd_timeout", "the scheduler has not answered in time",
        "try the command by hand; raise cmd_timeout= if the scheduler is only slow",
    ),
    _refusal(
        "scheduler-down", r"Unable to contact|cannot connect to server|Connection refused|can't connect|"
        r"unable to send message|Failed to connect|LSF is down|batch daemon", "the scheduler can't be reached",
        "try the command by hand; if that fails too, tell the administrators",
    ),
    _refusal(
        "partition", r"invalid partition|no partition specified|unknown queue|no such queue|requests unknown queue|"
        r"cannot use the queue|queue .{0,40}(does not exist|is not (enabled|started))",
        "there is no such partition or queue, or you may not use it",
        "put right partition= or queue=; `sinfo -s`, `qstat -Q`, `qconf -sql` or `bqueues` lists what there is",
    ),
    _refusal(
        "account", r"invalid account|invalid project|unknown project|account .{0,60}(invalid|not valid|expired)|"
        r"no default account|project .{0,60}(is not|not found)", "the account is not one that you may use here",
        "put right account= or project=; `sacctmgr show assoc user=$USER` lists yours, on Slurm",
    ),
    _refusal(
        "qos", r"invalid qos", "the qos is not one that this account may use",
        "put right qos=; `sacctmgr show assoc user=$USER format=account,qos` lists them",
    ),
    _refusal(
        "limits", r"time limit is invalid|violates (accounting|queue)|exceeds .{0,60}limit|resource limits|"
        r"more (processors|nodes|cpus) (requested )?than|node count specification invalid",
        "it asks for more than the partition, queue or account allows", "lower walltime= or nodes_per_block=",
    ),
    _refusal(
        "resources", r"node configuration is not available|memory specification can not|invalid feature|"
        r"unknown resource|invalid generic resource|bad constraint|illegal (attribute|resource)",
        "no node has what it asks for",
        "look at constraint=, cores_per_node=, mem_per_node=, select_options= and scheduler_options=",
    ),
    _refusal(
        "script-path", r"cannot write|ScriptPathError|No space left|Permission denied", "its script can't be written",
        "give another directory by run_dir=",
    ),
)  # fmt: skip


def diagnose(evidence: trial.Evidence, version: str, timeout_s: float) -> list[Finding]:
    """What is to be said of a trial; version: of Python here, such as "3.11.2"."""
    if evidence.facts:
        return _about_success(evidence, version)
    if evidence.refused is not None:
        return [refused(evidence.refused)]
    if trial.is_waiting(evidence):
        return [_still_waiting(evidence, timeout_s)]
    return [_failed(evidence, version, timeout_s)]


def refused(error: ExecutionProviderException) -> Finding:
    """The scheduler did not take the job."""
    said = str(error)
    for kind in REFUSALS:
        if kind.pattern.search(said):
            return problem(kind.code, f"{kind.text}. It said:\n{said}", kind.remedy)
    return problem("refused", f"the scheduler refused the job. It said:\n{said}", "submit the script by hand")


def _still_waiting(evidence: trial.Evidence, timeout_s: float) -> Finding:
    assert evidence.status is not None  # for that it waits
    reason = evidence.status.message or "no reason given"
    text = f"job {evidence.job} has waited for {timeout_s:.0f} s, and was withdrawn: {reasons.with_meaning(reason)}"
    if reasons.needs_somebody(reason) or evidence.status.state is JobState.HELD:
        return problem("never-starts", text, "it will not start by itself: change what the reason names")
    return warning("queue", text, "nothing is known to be wrong: try again with a longer --timeout")


# -- the job began, and no worker answered


def _failed(evidence: trial.Evidence, version: str, timeout_s: float) -> Finding:
    told = trial.told(evidence.stdout)
    for look in (_about_init, _about_python, _about_run_directory, _about_connection, _about_launcher):
        finding = look(evidence, told, version)
        if finding is not None:
            return finding
    said = trial.failure_of(evidence)
    if evidence.is_over_time:
        return problem(
            "time-out", f"no worker has answered within {timeout_s:.0f} s{_words(evidence)}",
            "look at what it wrote; with --timeout it gets longer",
        )  # fmt: skip
    return problem("failed", f"no worker has come up: {said}{_words(evidence)}", "look at what it wrote")


def _about_init(evidence: trial.Evidence, told: dict[str, Any], version: str) -> Finding | None:
    if trial.INIT_ENDED in evidence.stdout or trial.INIT_ENDED in evidence.stderr:
        return None
    if trial.BEGUN in evidence.stdout or trial.BEGUN in evidence.stderr:
        state = "has not ended" if evidence.is_over_time else f"has ended the job{_exit_code(evidence)}"
        return problem(
            "worker-init", f"worker_init {state}{_words(evidence)}",
            "run its lines by hand on a node; what they need may have to be loaded first",
        )  # fmt: skip
    if evidence.status is None or evidence.status.stdout_path is None:
        return None  # there is nothing to be read here
    if evidence.is_over_time and evidence.status.state is JobState.RUNNING:
        return None  # its output may be written late
    return problem(
        "no-output", f"the job{_exit_code(evidence)} has written nothing: it may not see the run's directory "
        f"({evidence.directory}), or a prolog of the site ended it", "run_dir= must be a directory that the nodes see",
    )  # fmt: skip


def _about_python(evidence: trial.Evidence, told: dict[str, Any], version: str) -> Finding | None:
    if not told:
        if trial.INIT_ENDED not in evidence.stdout:
            return None
        return problem(
            "python-missing", f"the nodes can't run the Python of this machine{_words(evidence)}",
            "install it where the nodes see it at the same path, or load what it needs in worker_init",
        )  # fmt: skip
    if told["python"].split(".")[:2] != version.split(".")[:2]:
        return problem(
            "python-version", f"on node {told['host']} {told['executable']} is Python {told['python']}, "
            f"here it is Python {version}", "both must have the same first two numbers: use one environment for both",
        )  # fmt: skip
    broken = {name: said for name, said in told["packages"].items() if "Error" in said}
    if broken:
        names = ", ".join(f"{name} ({said})" for name, said in broken.items())
        return problem(
            "packages", f"on node {told['host']} these can't be imported: {names}",
            "use the same environment there, or set PYTHONPATH in worker_init",
        )  # fmt: skip
    if re.search(r"was refused: .*(protocol|version|Python)|VersionMismatch", _all_words(evidence)):
        return problem(
            "version", f"the nodes have another version than this machine ({__version__}){_words(evidence)}",
            "install the same version of parsl_pool in both places; does worker_init set PYTHONPATH?",
        )  # fmt: skip
    return None


def _about_run_directory(evidence: trial.Evidence, told: dict[str, Any], version: str) -> Finding | None:
    if not told or not told["ticket"] or told["connect"]:
        return None
    if "cannot read its ticket" not in _all_words(evidence):
        return None
    return problem(
        "run-dir-unseen", f"node {told['host']} does not see the run's directory: {told['ticket']}",
        "run_dir= must be a directory that this machine and the nodes see at the same path",
    )  # fmt: skip


def _about_connection(evidence: trial.Evidence, told: dict[str, Any], version: str) -> Finding | None:
    tried = told.get("connect", {})
    if not tried or not all(tried.values()):
        return None
    lines = "".join(f"\n  {address}: {said}" for address, said in tried.items())
    return problem(
        "connect", f"node {told['host']} can't connect back to this machine:{lines}",
        "give address= as the nodes know this machine (parsl_pool.addresses.address_by_interface), worker_port_range= "
        "as its firewall lets through, or address=\"tunnel\" where the provider's channel is SSH",
    )  # fmt: skip


def _about_launcher(evidence: trial.Evidence, told: dict[str, Any], version: str) -> Finding | None:
    after = evidence.stderr.rpartition(trial.ALL_TOLD)[2]
    found = re.search(r"(\S+): (?:command )?not found", after)
    if found is None:
        return None
    return problem(
        "launcher-command", f"the block has no {found[1].rstrip(':')}, which its launcher calls{_words(evidence)}",
        "load its module in worker_init, or use another launcher",
    )  # fmt: skip


def _exit_code(evidence: trial.Evidence) -> str:
    status = evidence.status
    return "" if status is None or status.exit_code is None else f" (exit code {status.exit_code})"


def _all_words(evidence: trial.Evidence) -> str:
    return "\n".join((evidence.stderr, evidence.stdout, trial.failure_of(evidence)))


def _words(evidence: trial.Evidence) -> str:
    """The end of what the job has written, without our own lines."""
    found = ""
    for name, text in (("stderr", evidence.stderr), ("stdout", evidence.stdout)):
        lines = [line for line in text.splitlines() if preflight.MARK not in line]
        end = "\n".join(lines).strip()[-_TAIL:]
        found += f"\nits {name} ends with:\n{end}" if end else ""
    return found


# -- a worker answered


def _about_success(evidence: trial.Evidence, version: str) -> list[Finding]:
    facts = evidence.facts
    found = [
        good(
            "worker", f"a worker on {facts['host']} has answered after {evidence.first_s:.1f} s "
            f"(Python {facts['python']}, {facts['cores']} cores)",
        ),
        *_about_versions(facts, version),
        *_about_first_words(evidence),
        *_about_ways(trial.told(evidence.stdout)),
    ]  # fmt: skip
    if evidence.round_trip_s:
        found.append(good("round-trip", f"a call takes {evidence.round_trip_s * 1000:.2f} ms there and back"))
    if evidence.bytes_per_s:
        found.append(good("bandwidth", f"data travels at {evidence.bytes_per_s / 1e6:.0f} MB/s"))
    off_s = facts["time"] - (evidence.sent + evidence.answered) / 2
    if evidence.sent and abs(off_s) > _CLOCK_S + (evidence.answered - evidence.sent):
        found.append(warning("clock", f"its clock is {abs(off_s):.0f} s off", "have the clocks set by NTP"))
    if not facts["temporary"]:
        found.append(warning("temporary", "it has no temporary directory to write to", "set TMPDIR in worker_init"))
    if evidence.error is not None:
        failure = trial.failure_of(evidence)
        found.append(problem("unsteady", f"then a call failed: {failure}{_words(evidence)}", "look at what it wrote"))
    return found


def _about_versions(facts: dict[str, Any], version: str) -> list[Finding]:
    here = probe.probe()
    lines = []
    if facts["python"] != version:
        lines.append(f"Python {facts['python']} there, {version} here")
    if facts["parsl_pool"] != __version__:
        lines.append(f"parsl_pool {facts['parsl_pool']} there, {__version__} here")
    for name, there in facts["packages"].items():
        if there != here["packages"][name]:
            lines.append(f"{name} {there or '(none)'} there, {here['packages'][name] or '(none)'} here")
    if lines:
        remedy = "use one environment for both: what is pickled here may not be understood there"
        return [warning("versions", "versions differ: " + "; ".join(lines), remedy)]
    return [good("versions", "Python and packages are the same there as here")]


def _about_ways(told: dict[str, Any]) -> list[Finding]:
    """By which addresses the node reaches us, where there are several; and what it may open."""
    found = []
    tried = told.get("connect", {})
    ways = [address for address, trouble in tried.items() if not trouble]
    if len(tried) > 1 and ways:
        host = ways[0].partition("://")[2].rpartition(":")[0].strip("[]")
        text = f"node {told['host']} reaches this machine by {', '.join(ways)}"
        shut = [f"{address} ({trouble})" for address, trouble in tried.items() if trouble]
        text += f"; not by {', '.join(shut)}" if shut else ""
        found.append(note("ways", text, f'address="{host}" leaves out the others'))
    if told and told["files"] < _FEW_FILES:
        text = f"node {told['host']} allows {told['files']} open files to a process"
        found.append(warning("open-files", text, "put `ulimit -n 4096` into worker_init"))
    return found


def _about_first_words(evidence: trial.Evidence) -> list[Finding]:
    """What worker_init had to say on stderr, if it went on all the same."""
    said = evidence.stderr.partition(trial.INIT_ENDED)[0].rpartition(trial.BEGUN)[2].strip()
    if not said:
        return []
    remedy = "see whether it did all that it should"
    return [note("worker-init-says", f"worker_init wrote to stderr:\n{said[-_TAIL:]}", remedy)]
