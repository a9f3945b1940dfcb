"""From what is left of a trial to the reason: pure."""

import pytest

from parsl_pool.doctor.diagnosis import diagnose, refused
from parsl_pool.doctor.finding import Level
from parsl_pool.doctor.trial import ALL_TOLD, BEGUN, INIT_ENDED, Evidence
from parsl_pool.errors import SubmitException
from parsl_pool.providers.states import JobState, JobStatus


@pytest.mark.parametrize(
    "code, said",
    [
        # Slurm 22.05; test_on_slurm.py has it print the first of each kind
        ("partition", "sbatch: error: invalid partition specified: nope\n"
                      "sbatch: error: Batch job submission failed: Invalid partition name specified"),
        ("account", "sbatch: error: Batch job submission failed: Invalid account or account/partition combination"),
        ("qos", "sbatch: error: Batch job submission failed: Invalid qos specification"),
        ("limits", "sbatch: error: Batch job submission failed: Requested time limit is invalid (missing or exceeds "
                   "some limit)"),
        ("limits", "sbatch: error: Batch job submission failed: Job violates accounting/QOS policy (job submit limit)"),
        ("resources", "sbatch: error: Batch job submission failed: Requested node configuration is not available"),
        ("resources", "sbatch: error: Memory specification can not be satisfied"),
        ("scheduler-down", "sbatch: error: Batch job submission failed: Unable to contact slurm controller (connect "
                           "failure)"),
        # Grid Engine
        ("partition", 'Unable to run job: Job was rejected because job requests unknown queue "nope.q".'),
        ("resources", 'Unable to run job: unknown resource "foo".'),
        ("scheduler-down", "error: commlib error: got select error (Connection refused)\n"
                           'Unable to run job: unable to send message to qmaster using port 6444'),
        # from manuals
        ("partition", "qsub: Unknown queue MSG=cannot locate queue"),
        ("partition", "nope: No such queue. Job not submitted."),
        ("account", "qsub: Invalid account MSG=invalid account"),
        ("limits", "qsub: Job violates queue and/or server resource limits"),
        ("scheduler-down", "qsub: cannot connect to server pbs (errno=15010)"),
        ("command-missing", "/bin/sh: 1: qsub: not found"),
        ("scheduler-silent", "it has not ended within cmd_timeout=10 s;"),
        ("refused", "the moon is in the wrong phase"),
    ],
)  # fmt: skip
def test_why_a_scheduler_refuses(code: str, said: str) -> None:
    found = refused(SubmitException("block.0", "qsub x.sh", 1, "", said))
    assert (found.level, found.code) == (Level.PROBLEM, code)
    assert said.splitlines()[0] in found.text and found.remedy


def _evidence(**facts: object) -> Evidence:
    status = JobStatus(JobState.FAILED, "exit code 1", 1, "/run/x.out", "/run/x.err")
    return Evidence(**{"job": "12", "status": status, **facts})  # type: ignore[arg-type]


def _told(**changes: object) -> str:
    import json

    facts = {"host": "n1", "python": "3.11.2", "executable": "/py", "packages": {}, "ticket": "", "connect": {}}
    facts["files"] = 1024  # type: ignore[assignment]
    return f"{BEGUN}\n{INIT_ENDED}\nPARSL_POOL_CHECK {json.dumps({**facts, **changes})}\n{ALL_TOLD}\n"


@pytest.mark.parametrize(
    "code, evidence",
    [
        ("no-output", _evidence()),
        ("worker-init", _evidence(stdout=f"{BEGUN}\n")),
        ("python-missing", _evidence(stdout=f"{BEGUN}\n{INIT_ENDED}\n")),
        ("python-version", _evidence(stdout=_told(python="3.9.1"))),
        ("packages", _evidence(stdout=_told(packages={"zmq": "ModuleNotFoundError: No module named 'zmq'"}))),
        ("version", _evidence(stdout=_told(), stderr="manager n1 was refused: it speaks protocol 3 (parsl_pool 0)")),
        ("run-dir-unseen", _evidence(stdout=_told(ticket="there is no directory /home/x"),
                                     stderr="parsl_pool manager: cannot read its ticket /home/x/ticket: [Errno 2]")),
        ("connect", _evidence(stdout=_told(connect={"tcp://10.0.0.1:5": "timed out", "tcp://10.0.0.2:5": "refused"}))),
        ("launcher-command", _evidence(stdout=_told(), stderr=f"{ALL_TOLD}\nx.sh: line 9: mpiexec: command not found")),
        ("time-out", _evidence(stdout=_told(connect={"a": "", "b": "refused"}), is_over_time=True)),
        ("failed", _evidence(stdout=_told())),
    ],
)  # fmt: skip
def test_the_first_link_that_does_not_hold_is_the_reason(code: str, evidence: Evidence) -> None:
    (found,) = diagnose(evidence, "3.11.9", 60)
    assert (found.level, found.code) == (Level.PROBLEM, code), found.text
    assert found.remedy


def test_the_addresses_that_a_node_can_use_are_told_and_limits_that_are_low() -> None:
    told = _told(connect={"tcp://10.0.0.1:5": "timed out", "tcp://[fd00::2]:5": ""}, files=64)
    facts = {"host": "n1", "python": "3.11.9", "cores": 4, "packages": {}, "parsl_pool": "", "time": 0, "temporary": 1}
    found = {one.code: one for one in diagnose(_evidence(stdout=told, facts=facts), "3.11.9", 60)}
    assert "by tcp://[fd00::2]:5; not by tcp://10.0.0.1:5 (timed out)" in found["ways"].text
    assert 'address="fd00::2"' in found["ways"].remedy and "64 open files" in found["open-files"].text


def test_versions_that_differ_in_the_last_number_are_no_reason() -> None:
    (found,) = diagnose(_evidence(stdout=_told(python="3.11.1")), "3.11.9", 60)
    assert found.code == "failed"


@pytest.mark.parametrize(
    "reason, level, code",
    [
        ("Priority", Level.WARNING, "queue"),
        ("ReqNodeNotAvail, UnavailableNodes:n[1-4]", Level.WARNING, "queue"),
        ("PartitionTimeLimit", Level.PROBLEM, "never-starts"),
    ],
)
def test_a_job_that_waits(reason: str, level: Level, code: str) -> None:
    waits = Evidence(job="12", status=JobStatus(JobState.PENDING, reason), is_over_time=True)
    (found,) = diagnose(waits, "3.11.9", 60)
    assert (found.level, found.code) == (level, code) and reason in found.text
