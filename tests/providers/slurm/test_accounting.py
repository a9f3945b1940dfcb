"""A real Slurm with accounting: an account must exist, and sacct knows how a job ended."""

import os

import pytest

from parsl_pool.errors import SubmitException
from parsl_pool.providers import JobState, SlurmProvider
from tests.eventually import eventually
from tests.services.clusters import SlurmCluster
from tests.services.jobs import NewProvider, ends, status_of
from tests.services.slurm import ACCOUNT

pytestmark = [pytest.mark.service, pytest.mark.timeout(180)]


@pytest.fixture
def cluster(slurm_with_accounting: SlurmCluster) -> SlurmCluster:
    return slurm_with_accounting


def test_an_account_that_does_not_exist_is_refused(new_provider: NewProvider) -> None:
    with pytest.raises(SubmitException, match="Invalid account or account/partition combination specified"):
        new_provider(account="nosuch").submit("true", 1)
    provider = new_provider(account=ACCOUNT, partition="members")
    assert ends(provider, provider.submit("true", 1)).state is JobState.COMPLETED


def test_jobs_of_a_cluster_that_is_named(new_provider: NewProvider, forgetful: None) -> None:
    """Where a Slurm has several clusters, none of its commands finds a job of another one than its own."""
    provider = new_provider(scheduler_options="#SBATCH --clusters=tests")
    job = provider.submit("exit 3", 1)
    assert job.isdigit()
    status = ends(provider, job)
    assert (status.state, status.exit_code) == (JobState.FAILED, 3)
    long = provider.submit("sleep 100", 1)
    assert eventually(lambda: status_of(provider, long).state is JobState.RUNNING)
    assert provider._find(_name(provider, long)) == long
    assert provider.cancel([long]) == [True]
    assert ends(provider, long).state is JobState.CANCELLED


def _name(provider: SlurmProvider, job: str) -> str:
    return os.path.basename(provider._jobs[job].base)


@pytest.fixture
def forgetful(monkeypatch: pytest.MonkeyPatch) -> None:
    """The queue lists no job that has ended: slurmctld forgets them after a while (MinJobAge), sacct does not."""
    listing = SlurmProvider.queue_command
    monkeypatch.setattr(
        SlurmProvider, "queue_command", lambda self, ids: listing(self, ids).replace(" --states=all", "")
    )
    monkeypatch.setattr(SlurmProvider, "_last_act", lambda self, job: None)


def test_sacct_tells_how_jobs_ended(
    new_provider: NewProvider, cluster: SlurmCluster, forgetful: None
) -> None:
    provider = new_provider(walltime="00:01:00")
    good, bad, killed = (provider.submit(command, 1) for command in ("true", "exit 7", "kill -9 $$"))
    cancelled, late = (provider.submit("sleep 300", 1) for _ in range(2))
    assert eventually(lambda: {status_of(provider, job).state for job in (cancelled, late)} == {JobState.RUNNING})
    cluster.run("scancel", cancelled)
    cluster.end_soon(late)
    seen = {job: ends(provider, job, within=60) for job in (good, bad, cancelled, killed, late)}
    assert (seen[good].state, seen[good].exit_code) == (JobState.COMPLETED, 0)
    assert (seen[bad].state, seen[bad].exit_code) == (JobState.FAILED, 7)
    assert seen[cancelled].state is JobState.CANCELLED
    assert (seen[killed].state, seen[killed].exit_code) == (JobState.FAILED, 137)
    assert seen[late].state is JobState.TIMEOUT
