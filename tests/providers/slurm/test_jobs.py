"""The life of a job under a real Slurm of four nodes, without accounting: what is seen of it, and how soon."""

import re
import shlex
import sys
from pathlib import Path

import pytest

from parsl_pool.errors import ExecutionProviderException, SubmitException
from parsl_pool.providers import JobState, SrunLauncher, SrunMPILauncher, WrappedLauncher
from tests.eventually import eventually
from tests.services.clusters import SlurmCluster
from tests.services.jobs import ODD, NewProvider, ends, status_of
from tests.services.slurm import NODES

pytestmark = [pytest.mark.service, pytest.mark.timeout(180)]

def test_a_job_runs_and_ends(new_provider: NewProvider, tmp_path: Path) -> None:
    provider = new_provider()
    go = tmp_path / "go"
    job = provider.submit(f"echo out; echo err >&2; until [ -e {shlex.quote(str(go))} ]; do sleep 0.05; done", 1)
    assert eventually(lambda: status_of(provider, job).state is JobState.RUNNING)
    go.touch()
    status = ends(provider, job)
    assert (status.state, status.exit_code) == (JobState.COMPLETED, 0)
    assert (status.stdout, status.stderr) == ("out\n", "err\n")


def test_a_job_that_fails_tells_its_exit_code(new_provider: NewProvider) -> None:
    provider = new_provider()
    status = ends(provider, provider.submit("echo sorry >&2; exit 7", 1))
    assert (status.state, status.exit_code, status.stderr) == (JobState.FAILED, 7, "sorry\n")


def test_worker_init_may_fail(new_provider: NewProvider) -> None:
    provider = new_provider(worker_init="echo before; exit 1")
    status = ends(provider, provider.submit("echo command", 1))
    assert (status.state, status.exit_code, status.stdout) == (JobState.FAILED, 1, "before\n")


@pytest.mark.parametrize("launcher", [SrunLauncher(), SrunMPILauncher(), SrunLauncher(debug=False, overrides="-O")])
def test_a_command_runs_on_each_node_of_a_block(
    new_provider: NewProvider, tmp_path: Path, launcher: SrunLauncher
) -> None:
    """A shell reads it exactly once, with whatever signs are in it."""
    provider = new_provider(nodes_per_block=2, launcher=launcher)
    told = tmp_path / ODD.replace("/", "")
    told.mkdir()
    status = ends(provider, provider.submit(f"echo {shlex.quote(ODD)} > {shlex.quote(str(told))}/$(hostname)", 1))
    assert (status.state, status.exit_code) == (JobState.COMPLETED, 0), status.stderr
    assert len(list(told.iterdir())) == 2 and {file.name for file in told.iterdir()} < set(NODES)
    assert {file.read_text() for file in told.iterdir()} == {ODD + "\n"}


def test_one_launcher_wraps_what_another_starts(new_provider: NewProvider, tmp_path: Path) -> None:
    """As for a container on each node: the wrapping program runs there, not where the script does."""
    wrapper = tmp_path / "my wrapper's $1"
    wrapper.write_text('#!/bin/sh\necho "wrapped: $OPTION"\nexec "$@"\n')
    wrapper.chmod(0o755)
    prepend = f"env OPTION={shlex.quote(ODD)} {shlex.quote(str(wrapper))}"
    provider = new_provider(nodes_per_block=2, launcher=WrappedLauncher(prepend, launcher=SrunLauncher(debug=False)))
    program = f"import socket, sys; print(socket.gethostname(), sys.argv[1] == {ODD!r})"
    status = ends(provider, provider.submit(shlex.join([sys.executable, "-c", program, ODD]), 1))
    lines = re.sub(r"^\d: ", "", status.stdout or "", flags=re.MULTILINE).splitlines()
    hosts = {line.split()[0] for line in lines if line.endswith(" True")}
    assert len(hosts) == 2 and hosts < set(NODES)
    assert lines.count(f"wrapped: {ODD}") == 2, status


def test_srun_tells_how_it_ended(new_provider: NewProvider) -> None:
    provider = new_provider(nodes_per_block=2, launcher=SrunLauncher())
    status = ends(provider, provider.submit("exit 9", 1))
    assert (status.state, status.exit_code) == (JobState.FAILED, 9)
    assert "srun" in (status.stdout or "") and "ended with exit code 9" in (status.stdout or "")


def test_a_job_is_cancelled(new_provider: NewProvider, cluster: SlurmCluster) -> None:
    provider = new_provider(nodes_per_block=2, launcher=SrunLauncher())
    jobs = [provider.submit("sleep 100", 1) for _ in range(2)]
    assert eventually(lambda: all(status_of(provider, job).state is JobState.RUNNING for job in jobs), 20)
    assert provider.cancel([*jobs, "never submitted"]) == [True, True, False]
    assert {ends(provider, job).state for job in jobs} == {JobState.CANCELLED}
    assert provider.cancel(jobs) == [True, True]


def test_jobs_are_cancelled_of_which_one_has_just_ended(new_provider: NewProvider, cluster: SlurmCluster) -> None:
    provider = new_provider()
    short, long = provider.submit("true", 1), provider.submit("sleep 100", 1)
    assert eventually(lambda: cluster.jobs() == {long: "RUNNING"}, 30)
    assert provider.cancel([short, long]) == [True, True]
    assert ends(provider, long).state is JobState.CANCELLED
    assert ends(provider, short).exit_code == 0


def test_a_job_is_cancelled_by_somebody_else(new_provider: NewProvider, cluster: SlurmCluster) -> None:
    provider = new_provider()
    job = provider.submit("sleep 100", 1)
    assert eventually(lambda: status_of(provider, job).state is JobState.RUNNING, 20)
    cluster.run("scancel", job)
    status = ends(provider, job)
    assert status.state is JobState.CANCELLED


def test_a_job_waits_and_says_why(new_provider: NewProvider, cluster: SlurmCluster) -> None:
    provider = new_provider(partition="closed")
    job = provider.submit("true", 1)
    status = status_of(provider, job)
    assert (status.state, status.message) == (JobState.PENDING, "PartitionDown")
    cluster.run("scontrol", "hold", job)
    status = status_of(provider, job)
    assert (status.state, status.message) == (JobState.HELD, "JobHeldAdmin")  # root is the administrator
    cluster.run("scontrol", "release", job)
    assert status_of(provider, job).state is JobState.PENDING


def test_a_job_waits_for_nodes_that_others_have(new_provider: NewProvider) -> None:
    provider = new_provider(nodes_per_block=3, exclusive=True)
    running = provider.submit("sleep 100", 1)
    assert eventually(lambda: status_of(provider, running).state is JobState.RUNNING, 20)
    waiting = provider.submit("true", 1)
    assert eventually(lambda: status_of(provider, waiting).message == "Resources", 20)
    assert [status.state for status in provider.status([running, waiting])] == [JobState.RUNNING, JobState.PENDING]


def test_an_account_that_the_partition_does_not_know(new_provider: NewProvider) -> None:
    """Without accounting Slurm accepts such a job, and never starts it."""
    provider = new_provider(partition="members", account="physics")
    status = status_of(provider, provider.submit("true", 1))
    assert status.state is JobState.PENDING
    assert "account not known" in (status.message or "")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"partition": "gone"}, "Required partition not available (inactive or drain)"),
        ({"partition": "nosuch"}, "invalid partition specified: nosuch"),
        ({"partition": "brief", "scheduler_options": "#SBATCH --nosuch=1"}, "unrecognized option '--nosuch=1'"),
        ({"constraint": "nosuch"}, "Invalid feature specification"),
    ],
)
def test_slurm_refuses_a_job(
    new_provider: NewProvider, script_dir: Path, options: dict[str, str], words: str
) -> None:
    with pytest.raises(SubmitException) as caught:
        new_provider(**options).submit("true", 1)
    error = caught.value
    assert words in error.stderr and words in str(error)
    assert error.exit_code in (1, 255) and error.stdout == ""
    (script,) = script_dir.glob("*.sh")
    assert error.command == f"sbatch {shlex.quote(str(script))}" and str(script) in str(error)
    assert error.script_path == str(script)


def test_a_job_ends_by_its_walltime(new_provider: NewProvider, cluster: SlurmCluster) -> None:
    provider = new_provider(walltime="00:01:00")
    job = provider.submit("sleep 300", 1)
    assert eventually(lambda: status_of(provider, job).state is JobState.RUNNING, 20)
    cluster.end_soon(job)
    status = ends(provider, job, within=60)  # Slurm looks for such jobs twice a minute
    assert status.state is JobState.TIMEOUT


def test_a_job_ends_with_its_node(new_provider: NewProvider, cluster: SlurmCluster) -> None:
    """Nor does Slurm start it again: the pool asks for another block, with what it needs by then."""
    provider = new_provider()
    job = provider.submit("sleep 300", 1)
    assert eventually(lambda: status_of(provider, job).state is JobState.RUNNING, 20)
    cluster.crash(cluster.nodes_of(job)[0])
    status = ends(provider, job, within=90)
    assert status.state is JobState.FAILED
    assert "NODE_FAIL" in (status.message or "")


def test_slurmctld_is_away_for_a_while(new_provider: NewProvider, cluster: SlurmCluster) -> None:
    provider = new_provider(cmd_timeout=2)
    job = provider.submit("sleep 100", 1)
    assert eventually(lambda: status_of(provider, job).state is JobState.RUNNING, 20)
    cluster.service.ask("end_control")
    with pytest.raises(ExecutionProviderException, match=r"squeue.* (failed|has not ended within cmd_timeout=2 s)"):
        provider.status([job])
    with pytest.raises(SubmitException, match="sbatch"):
        provider.submit("true", 1)
    cluster.service.ask("restart_control")
    assert status_of(provider, job).state is JobState.RUNNING
    provider.cancel([job])
    assert ends(provider, job).state is JobState.CANCELLED


def test_one_command_for_many_jobs(new_provider: NewProvider, cluster: SlurmCluster) -> None:
    provider = new_provider(partition="closed")
    jobs = [provider.submit("true", 1) for _ in range(20)]
    assert {status.state for status in provider.status(jobs)} == {JobState.PENDING}
    cluster.run("scancel", *jobs[:10])
    assert [s.state for s in provider.status(jobs)] == [JobState.CANCELLED] * 10 + [JobState.PENDING] * 10
    assert provider.cancel(jobs) == [True] * 20
    assert {ends(provider, job).state for job in jobs} == {JobState.CANCELLED}
