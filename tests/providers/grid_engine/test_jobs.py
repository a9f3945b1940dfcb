"""The life of a job under a real Grid Engine of one host: what is seen of it, and how soon."""

import shlex
from pathlib import Path

import pytest

from parsl_pool.errors import SubmitException
from parsl_pool.providers import JobState
from tests.eventually import eventually
from tests.services.clusters import GridEngineCluster
from tests.services.grid_engine import NODE
from tests.services.jobs import ODD, NewProvider, ends, status_of

pytestmark = [pytest.mark.service, pytest.mark.timeout(180)]


def test_a_job_runs_and_ends(new_provider: NewProvider, tmp_path: Path) -> None:
    provider = new_provider()
    go = tmp_path / "go"
    wait = f"until [ -e {shlex.quote(str(go))} ]; do sleep 0.05; done"
    job = provider.submit(f"hostname; echo {shlex.quote(ODD)}; echo err >&2; {wait}", 1)
    assert eventually(lambda: status_of(provider, job).state is JobState.RUNNING, 20)
    go.touch()
    status = ends(provider, job)
    assert (status.state, status.exit_code) == (JobState.COMPLETED, 0)
    assert (status.stdout, status.stderr) == (f"{NODE}\n{ODD}\n", "err\n")


def test_a_job_that_fails_tells_its_exit_code(new_provider: NewProvider) -> None:
    provider = new_provider()
    job = provider.submit("echo sorry >&2; exit 7", 1)
    init = new_provider(worker_init="echo before; exit 1")
    other = init.submit("echo command", 1)
    status = ends(provider, job)
    assert (status.state, status.exit_code, status.stderr) == (JobState.FAILED, 7, "sorry\n")
    status = ends(init, other)
    assert (status.state, status.exit_code, status.stdout) == (JobState.FAILED, 1, "before\n")


def test_jobs_are_cancelled(new_provider: NewProvider, grid_engine: GridEngineCluster) -> None:
    """By us, and by somebody else."""
    provider = new_provider()
    ours, theirs = (provider.submit("sleep 100", 1) for _ in range(2))
    states = [JobState.RUNNING] * 2
    assert eventually(lambda: [status.state for status in provider.status([ours, theirs])] == states, 20)
    assert provider.cancel([ours, "never submitted"]) == [True, False]
    grid_engine.run("qdel", theirs)
    assert ends(provider, ours).state is JobState.CANCELLED
    assert ends(provider, theirs).state in (JobState.CANCELLED, JobState.FAILED)
    assert provider.cancel([ours, theirs]) == [True, True]


def test_jobs_are_found_by_their_names(new_provider: NewProvider) -> None:
    """As those whose ids nobody has written down."""
    provider = new_provider()
    jobs = [provider.submit("sleep 100", 1, f"the_{which}_of_two") for which in ("first", "second")]
    assert [provider.find(f"the_{which}_of_two") for which in ("first", "second")] == [[job] for job in jobs]
    assert provider.find("the_third") == []


def test_jobs_are_cancelled_of_which_one_has_just_ended(
    new_provider: NewProvider, grid_engine: GridEngineCluster
) -> None:
    """qdel fails for that one."""
    provider = new_provider()
    short, long = provider.submit("true", 1), provider.submit("sleep 100", 1)
    assert eventually(lambda: grid_engine.jobs() == {long: "r"}, 30)
    assert provider.cancel([short, long]) == [True, True]
    assert not grid_engine.left(20)
    assert ends(provider, long).state is JobState.CANCELLED


def test_a_job_waits_and_says_why(new_provider: NewProvider, grid_engine: GridEngineCluster) -> None:
    provider = new_provider(queue="closed.q")
    job = provider.submit("true", 1)
    assert status_of(provider, job).state is JobState.PENDING
    provider._asked = -1e9  # it asks for reasons twice a minute, at most
    assert eventually(lambda: "because it is disabled" in (status_of(provider, job).message or ""), 1)
    grid_engine.run("qhold", job)
    assert status_of(provider, job).state is JobState.HELD


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"queue": "nosuch.q"}, 'job requests unknown queue "nosuch.q"'),
        ({"scheduler_options": "#$ -pe nosuch 2"}, 'the requested parallel environment "nosuch" does not exist'),
        ({"scheduler_options": "#$ -P nosuch"}, 'the requested project "nosuch" does not exist'),
        ({"scheduler_options": "#$ -nosuch"}, "nosuch"),
    ],
)
def test_grid_engine_refuses_a_job(
    new_provider: NewProvider, script_dir: Path, options: dict[str, str], words: str
) -> None:
    with pytest.raises(SubmitException) as caught:
        new_provider(**options).submit("true", 1)
    error = caught.value
    assert words in error.stderr and words in str(error) and error.exit_code
    (script,) = script_dir.glob("*.sh")
    assert error.command == f"qsub {shlex.quote(str(script))}" and error.script_path == str(script)


def test_a_parallel_environment(new_provider: NewProvider) -> None:
    provider = new_provider(scheduler_options="#$ -pe mpi 3")
    status = ends(provider, provider.submit("echo slots: $NSLOTS; cut -d' ' -f2 $PE_HOSTFILE", 1))
    assert (status.state, status.stdout) == (JobState.COMPLETED, "slots: 3\n3\n")


def test_a_job_ends_by_its_walltime(new_provider: NewProvider) -> None:
    provider = new_provider(walltime="00:00:03")
    status = ends(provider, provider.submit("sleep 300", 1), within=60)
    assert status.state is JobState.TIMEOUT
    assert "h_rt" in (status.message or "")


def test_no_job_is_on_a_node_that_is_bad(new_provider: NewProvider) -> None:
    provider, free = new_provider(), new_provider()
    assert not provider.exclude("nowhere") and provider.exclude("localhost")  # as Grid Engine calls the node
    waiting = provider.submit("true", 1)
    assert ends(free, free.submit("true", 1)).state is JobState.COMPLETED, "there is room on the only node"
    assert status_of(provider, waiting).state is JobState.PENDING
    assert provider.cancel([waiting]) == [True]
