"""The life of a block, through the text that schedulers' commands take and print."""

import os
import re
import shlex
import shutil
from pathlib import Path

import pytest

from parsl_pool.errors import ConfigurationError, ExecutionProviderException, SchedulerMissingArgs, SubmitException
from parsl_pool.providers import JobState, SlurmProvider, slurm
from parsl_pool.providers.cluster import _UNLISTED_S, JobRequest
from parsl_pool.providers.seen import ended_with
from tests.eventually import eventually
from tests.providers.schedulers.conftest import Site

QUEUE_COMMAND = {"slurm": "squeue", "lsf": "bjobs", "condor": "condor_q"}
SUBMIT_COMMAND = {"slurm": "sbatch", "lsf": "bsub", "condor": "condor_submit"}
CANCEL_COMMAND = {"slurm": "scancel", "lsf": "bkill", "condor": "condor_rm"}
HOLD = ": a comment of one word, hold"


# What waits for a time to be over is tried with some: the code is the same for all.
FEW = pytest.mark.parametrize("site", ["slurm", "pbs"], indirect=True)


def test_a_job_runs_and_ends(site: Site, tmp_path: Path) -> None:
    go = tmp_path / "go"
    job = site.provider.submit(f"echo out; echo err >&2; until [ -e {shlex.quote(str(go))} ]; do sleep 0.05; done", 1)
    assert eventually(lambda: site.state(job) is JobState.RUNNING)
    go.touch()
    status = site.ends(job)
    assert (status.state, status.exit_code) == (JobState.COMPLETED, 0)
    assert status.stdout == "out\n" and status.stderr == "err\n"


def test_a_job_that_fails_tells_its_exit_code(site: Site) -> None:
    status = site.ends(site.provider.submit("echo sorry >&2; exit 7", 1))
    assert (status.state, status.exit_code) == (JobState.FAILED, 7)
    assert status.stderr_summary == "sorry\n"


def test_worker_init_runs_first_and_may_fail(site: Site) -> None:
    site.provider = site.new(worker_init="echo before; exit 3")
    status = site.ends(site.provider.submit("echo command", 1))
    assert (status.state, status.exit_code, status.stdout) == (JobState.FAILED, 3, "before\n")


def test_a_job_is_cancelled(site: Site) -> None:
    job = site.provider.submit("sleep 100", 1)
    assert eventually(lambda: site.state(job) is JobState.RUNNING)
    assert site.provider.cancel([job, "never submitted"]) == [True, False]
    assert site.ends(job).state is JobState.CANCELLED
    assert site.provider.cancel([job]) == [True]  # it has ended already: no command is run for it
    command = CANCEL_COMMAND.get(site.kind, "qdel")
    assert sum(call.startswith(command) for call in site.calls) == 1


def test_a_job_that_waits_says_why(site: Site) -> None:
    job = site.provider.submit(HOLD, 1)
    (status,) = site.provider.status([job])
    assert status.state is JobState.HELD
    said = {
        "slurm": "JobHeldUser", "grid_engine": "hqw: Job is in hold state", "cobalt": "user_hold",
        "pbs": "Job held by user on Sat Nov 21 at 19:00,until it is released",
        "lsf": "PSUSP: The job was suspended by the user while pending", "condor": "via condor_hold (by user user1)",
    }  # fmt: skip
    assert status.message == said.get(site.kind, said["pbs"])
    assert site.provider.status([job])[0].message == status.message  # also when nobody has asked again


def test_one_command_asks_for_all_jobs(site: Site) -> None:
    jobs = [site.provider.submit(HOLD, 1) for _ in range(5)]
    site.provider.status(jobs)
    before = len(site.calls)
    assert {status.state for status in site.provider.status(jobs)} == {JobState.HELD}
    assert len(site.calls) == before + 1


def test_jobs_that_have_ended_are_not_asked_for(site: Site) -> None:
    job = site.provider.submit("true", 1)
    site.ends(job)
    before = len(site.calls)
    assert site.state(job) is JobState.COMPLETED
    assert len(site.calls) == before


@pytest.mark.parametrize("code", [0, 5])
def test_how_a_job_ended_is_found_when_the_queue_has_forgotten_it(site: Site, code: int) -> None:
    site.set("forget")
    status = site.ends(site.provider.submit(f"exit {code}", 1))
    assert (status.state, status.exit_code) == (JobState.FAILED if code else JobState.COMPLETED, code)


@FEW
def test_a_walltime_that_is_over_is_told_by_the_script_if_nobody_else_knows(site: Site) -> None:
    """PBS Professional forgets jobs at once, unless a site has it keep them; and Cobalt tells nothing."""
    site.set("forget")
    site.provider = site.new(walltime=2 / 60)
    status = site.ends(site.provider.submit("sleep 2.1; kill -TERM $$", 1))
    assert (status.state, status.exit_code) == (JobState.TIMEOUT, 143), status


@pytest.mark.parametrize(
    "code, ran_s, walltime_s, state",
    [(143, 600, 600, JobState.TIMEOUT), (143, 575, 600, JobState.TIMEOUT), (143, 60, 600, JobState.FAILED),
     (1, 600, 600, JobState.FAILED), (0, 600, 600, JobState.COMPLETED), (137, 86390, 86400, JobState.TIMEOUT)],
)  # fmt: skip
def test_only_what_a_signal_has_ended_late_is_over_its_walltime(
    code: int, ran_s: int, walltime_s: int, state: JobState
) -> None:
    assert ended_with(code, ran_s, walltime_s).state is state


def test_a_job_of_which_nobody_knows_anything_ends_after_a_while(
    site: Site, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Not at once: a new job may not be listed yet, and an exit code may be on its way."""
    job = site.provider.submit(HOLD, 1)
    os.rename(site.jobs / "jobs", tmp_path / "elsewhere")
    assert site.state(job) is JobState.PENDING
    monkeypatch.setattr("parsl_pool.providers.cluster._UNLISTED_S", 0)
    status = site.provider.status([job])[0]
    assert status.state is JobState.FAILED and "nothing has told how it ended" in str(status.message)
    assert _UNLISTED_S == 60
    os.rename(tmp_path / "elsewhere", site.jobs / "jobs")


def test_a_banner_is_no_job(site: Site) -> None:
    site.set("say", "****\n** Welcome! 3 users, 12 jobs. Maintenance on 11/30/2026 **\n\n")
    job = site.provider.submit(HOLD, 1)
    assert site.state(job) is JobState.HELD
    assert site.provider.cancel([job]) == [True]


def test_a_refusal_of_the_scheduler_is_told(site: Site) -> None:
    command = SUBMIT_COMMAND.get(site.kind, "qsub")
    site.set(f"fail-{command}")
    with pytest.raises(SubmitException) as caught:
        site.provider.submit("true", 1)
    assert caught.value.exit_code == 1 and f"{command}: cannot connect to server" in caught.value.stderr
    assert re.fullmatch(r".*/it's a dir/parsl_po[\w.]+\.sh", caught.value.script_path)
    assert caught.value.script_path in str(caught.value)
    assert caught.value.command.startswith(command)


def test_commands_that_are_not_installed_are_named(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """A login node without the scheduler's module, say."""
    job = site.provider.submit(HOLD, 1)
    asks, submits = QUEUE_COMMAND.get(site.kind, "qstat"), SUBMIT_COMMAND.get(site.kind, "qsub")
    path = os.environ["PATH"]
    monkeypatch.setenv("PATH", "/usr/bin:/bin" if shutil.which(submits, path="/usr/bin:/bin") is None else "/bin/none")
    with pytest.raises(SubmitException, match=f"{submits}.*not found") as caught:
        site.provider.submit("true", 1)
    assert caught.value.exit_code == 127
    with pytest.raises(ExecutionProviderException, match=f"{asks}.*not found"):
        site.provider.status([job])
    assert site.provider.cancel([job]) == [False]
    monkeypatch.setenv("PATH", path)
    assert site.state(job) is JobState.HELD


def test_a_queue_that_cannot_be_asked_changes_nothing(site: Site) -> None:
    job = site.provider.submit(HOLD, 1)
    assert site.state(job) is JobState.HELD
    command = QUEUE_COMMAND.get(site.kind, "qstat")
    site.set(f"fail-{command}")
    if site.kind != "cobalt":  # whose qstat fails just so if there are no jobs
        with pytest.raises(ExecutionProviderException, match=f"{command} .* failed .exit code 1.: .*cannot connect"):
            site.provider.status([job])
    site.unset(f"fail-{command}")
    assert site.state(job) is JobState.HELD


def test_a_cancel_command_that_fails_is_told(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    command = CANCEL_COMMAND.get(site.kind, "qdel")
    job = site.provider.submit(HOLD, 1)
    site.set(f"fail-{command}")
    assert site.provider.cancel([job]) == [False]
    assert "cannot connect to server" in caplog.text
    site.unset(f"fail-{command}")


@FEW
def test_commands_that_hang_are_ended(site: Site) -> None:
    site.provider = site.new(cmd_timeout=5)
    site.set(f"slow-{QUEUE_COMMAND.get(site.kind, 'qstat')}", "100")
    job = site.provider.submit(HOLD, 1)
    with pytest.raises(ExecutionProviderException, match=r"has not ended within cmd_timeout=5 s"):
        site.provider.status([job])


@FEW
def test_a_submit_command_that_hangs_loses_no_job(site: Site) -> None:
    """What it has printed is enough."""
    site.provider = site.new(cmd_timeout=5)
    site.set(f"slow-{SUBMIT_COMMAND.get(site.kind, 'qsub')}", "100")
    job = site.provider.submit(HOLD, 1)
    assert site.state(job) is JobState.HELD


@FEW
def test_a_job_whose_submit_command_says_nothing_in_time_is_found_by_its_name(site: Site) -> None:
    site.provider = site.new(cmd_timeout=5)
    site.set(f"mute-{SUBMIT_COMMAND.get(site.kind, 'qsub')}")
    site.set(f"slow-{SUBMIT_COMMAND.get(site.kind, 'qsub')}", "100")
    job = site.provider.submit(HOLD, 1)
    assert site.state(job) is JobState.HELD
    assert any(call.startswith(("squeue", "qselect")) and "parsl_pool" in call for call in site.calls)


def test_jobs_are_found_by_their_names(site: Site) -> None:
    """As those whose ids nobody has written down."""
    jobs = [site.provider.submit(HOLD, 1, f"{which}_of_2") for which in ("the_1st", "the_2nd")]
    key = site.provider.key
    found = [site.provider.find(f"{which}_of_2") for which in ("the_1st", "the_2nd")]
    assert [list(map(key, some)) for some in found] == [[key(job)] for job in jobs]
    assert site.provider.find("the_3rd_of_2") == []


def test_a_banner_is_no_job_that_was_looked_for_by_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    provider = SlurmProvider()
    for command, found in [("echo Welcome to 2 clusters; echo CLUSTER: x; echo 12", "12"), ("echo Welcome", None)]:
        monkeypatch.setattr(provider, "find_command", lambda name, command=command: command)
        assert provider._find("name") == found


@pytest.mark.parametrize("option", ["--clusters=one,two", "-M one,two", "-Mone,two", "--clusters one,two"])
def test_each_command_names_the_cluster_that_the_job_is_for(option: str) -> None:
    provider = SlurmProvider(scheduler_options=f"#SBATCH --gres=gpu:1\n#SBATCH {option}\n")
    commands = [provider.queue_command(["1"]), provider.cancel_command(["1"]), provider.find_command("x")]
    assert all(" --clusters=one,two " in command for command in commands)


@pytest.mark.parametrize("site", ["slurm"], indirect=True)  # the code is the same for all
def test_a_state_that_is_not_known_is_alive_and_told_once(
    site: Site, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.delitem(slurm._STATES, "PENDING")
    job = site.provider.submit(HOLD, 1)
    for _ in range(3):
        (status,) = site.provider.status([job])
        assert status.state is JobState.UNKNOWN and not status.terminal
    assert status.message == "squeue says PENDING, a state that is not known here"
    assert caplog.text.count("a state that is not known here; it counts as alive") == 1


def test_commands_speak_no_other_language_than_english(monkeypatch: pytest.MonkeyPatch) -> None:
    """Dates and words of other languages would be read wrong."""
    for name in ("LANG", "LC_ALL", "LC_TIME"):
        monkeypatch.setenv(name, "de_DE.UTF-8")
    assert SlurmProvider()._run("echo $LC_ALL; date -d @0 +%A").stdout == "C\nThursday\n"


def test_a_provider_without_a_directory_says_what_to_do(site: Site) -> None:
    site.provider.script_dir = None
    with pytest.raises(ConfigurationError, match="script_dir to a directory that the nodes of the cluster see"):
        site.provider.submit("true", 1)


class Templated(SlurmProvider):
    """A class of a user's own, from a template."""

    def directives(self, job: JobRequest) -> list[str]:
        return ["#SBATCH --project={project}".format_map({"name": job.name})]


def test_a_value_that_directives_need_and_nobody_has_given_is_named(tmp_path: Path) -> None:
    provider = Templated()
    provider.script_dir = tmp_path
    with pytest.raises(SchedulerMissingArgs, match="directives of provider slurm need 'project'") as caught:
        provider.submit("true", 1)
    assert caught.value.missing == "project" and not list(tmp_path.iterdir())


def test_jobs_of_others_are_not_known(site: Site) -> None:
    other = site.new()
    job = other.submit(HOLD, 1)
    (status,) = site.provider.status([job])
    assert status.state is JobState.UNKNOWN and "has not submitted" in str(status.message)
    other.cancel([job])
