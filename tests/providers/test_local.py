import copy
import errno
import multiprocessing
import os
import pickle
import resource
import shlex
import signal
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from parsl_pool.errors import (
    BadLauncher,
    ConfigurationError,
    ExecutionProviderException,
    ScaleOutFailed,
    ScriptPathError,
)
from parsl_pool.providers import (
    BlockLimits,
    JobState,
    JobStatus,
    LocalProvider,
    SimpleLauncher,
    SingleNodeLauncher,
    local,
    process_group,
)
from tests.eventually import eventually
from tests.providers.conftest import is_gone, pid_in

New = Callable[..., LocalProvider]


def last_status(provider: LocalProvider, job_id: str) -> JobStatus:
    """The job's status once it has ended."""

    def look() -> JobStatus | None:
        [status] = provider.status([job_id])
        return status if status.terminal else None

    found = eventually(look)
    assert found
    return found


# ---- options


def test_the_defaults_are_one_block_of_one_node() -> None:
    provider = LocalProvider()
    assert provider.limits == BlockLimits(init_blocks=1, min_blocks=0, max_blocks=1, nodes_per_block=1)
    assert provider.label == "local" and provider.cmd_timeout == 30 and provider.worker_init == ""
    assert isinstance(provider.launcher, SingleNodeLauncher)
    assert 0 < provider.status_polling_interval < 5


@pytest.mark.parametrize(
    "options, error, text",
    [
        ({"max_blocks": 0}, ConfigurationError, "raise max_blocks to 1"),
        ({"parallelism": 2}, ConfigurationError, "parallelism"),
        ({"cmd_timeout": 0}, ConfigurationError, "cmd_timeout must be greater than 0"),
        ({"nodes_per_block": 2}, ConfigurationError, "would start on one node only"),
        ({"launcher": "srun"}, BadLauncher, "cannot be called"),
        ({"launcher": SingleNodeLauncher}, BadLauncher, "give an object"),
    ],
)
def test_what_makes_no_sense_is_an_error_at_once(options: dict[str, Any], error: type, text: str) -> None:
    with pytest.raises(error, match=text):
        LocalProvider(**options)


def test_several_nodes_need_a_launcher_for_them() -> None:
    assert LocalProvider(nodes_per_block=2, launcher=SimpleLauncher()).nodes_per_block == 2


def test_its_text_shows_all_options() -> None:
    text = repr(LocalProvider(max_blocks=3, worker_init="module load x", launcher=SimpleLauncher()))
    names = {name: getattr(local, name) for name in ("LocalProvider",)} | {"SimpleLauncher": SimpleLauncher}
    again = eval(text, names)
    assert repr(again) == text and again.max_blocks == 3 and again.worker_init == "module load x"


def test_a_copy_has_the_options_and_not_the_blocks(provider: LocalProvider) -> None:
    job_id = provider.submit("sleep 1000", 1)
    for twin in (copy.copy(provider), pickle.loads(pickle.dumps(provider))):
        assert repr(twin) == repr(provider) and twin.script_dir == provider.script_dir
        assert twin.status([job_id])[0].state == JobState.UNKNOWN
        assert twin.cancel([job_id]) == [False]
    assert provider.status([job_id])[0].state == JobState.RUNNING


# ---- a block's life


@pytest.mark.parametrize("copies", [1, 3])
def test_a_block_runs_then_completes(provider: LocalProvider, script_dir: Path, copies: int) -> None:
    go = script_dir / "go"
    command = shlex.join(["sh", "-c", 'while [ ! -e "$0" ]; do sleep 0.01; done; echo went', str(go)])
    job_id = provider.submit(command, copies, "parsl_pool.htex.block-0")
    [status] = provider.status([job_id])
    assert (status.state, status.exit_code) == (JobState.RUNNING, None)
    assert job_id.startswith("parsl_pool.htex.block-0.")
    go.touch()
    status = last_status(provider, job_id)
    assert (status.state, status.exit_code, status.message) == (JobState.COMPLETED, 0, "exit code 0")
    assert (status.stdout or "").count("went") == copies and status.stderr == ""
    assert provider.status([job_id]) == [status]


def test_a_failed_block_has_its_exit_code_and_output(provider: LocalProvider) -> None:
    status = last_status(provider, provider.submit("echo the reason >&2; exit 3", 1))
    assert (status.state, status.exit_code, status.message) == (JobState.FAILED, 3, "exit code 3")
    assert status.stderr_summary == "the reason\n"


def test_a_killed_block_has_failed_by_the_signals_name(provider: LocalProvider) -> None:
    status = last_status(provider, provider.submit("kill -SEGV $$", 1))
    assert (status.state, status.exit_code) == (JobState.FAILED, 139)
    assert status.message == "killed by SIGSEGV (exit code 139)"


def test_a_command_that_is_not_there_has_failed_at_once(provider: LocalProvider) -> None:
    status = last_status(provider, provider.submit("no-such-program", 1))
    assert (status.state, status.exit_code) == (JobState.FAILED, 127)
    assert "no-such-program" in (status.stderr or "") and "not found" in (status.message or "")


def test_worker_init_with_a_syntax_error_has_failed_with_the_shells_words(new_provider: New) -> None:
    provider = new_provider(worker_init="echo 'no end")
    status = last_status(provider, provider.submit("true", 1))
    assert status.state == JobState.FAILED and "unexpected EOF" in (status.stderr or "")


def test_worker_init_runs_first_in_the_same_shell(new_provider: New) -> None:
    provider = new_provider(worker_init="export WHO='it is me'; cd /", launcher=SimpleLauncher())
    status = last_status(provider, provider.submit('echo "$WHO, $JOBNAME in $PWD"', 1, "a name"))
    assert status.stdout == "it is me, a name in /\n"


def test_a_relative_script_dir_is_the_one_of_the_submission(
    new_provider: New, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    provider = new_provider(script_dir="scripts", launcher=SimpleLauncher())
    job_id = provider.submit("echo here", 1)
    monkeypatch.chdir("/")
    assert last_status(provider, job_id).stdout == "here\n"


def test_ctrl_c_at_the_terminal_does_not_reach_a_block_but_sigint_is_not_ignored(
    provider: LocalProvider,
) -> None:
    status = last_status(provider, provider.submit("kill -INT $$; sleep 1; echo survived", 1))
    assert status.message == "killed by SIGINT (exit code 130)"


def test_an_unknown_id_is_unknown(provider: LocalProvider) -> None:
    [status] = provider.status(["nobody"])
    assert status.state == JobState.UNKNOWN and "has not started nobody" in (status.message or "")
    assert provider.cancel(["nobody"]) == [False]
    assert provider.status([]) == [] and provider.cancel([]) == []


def test_many_blocks_at_once_have_ids_of_their_own(new_provider: New) -> None:
    provider = new_provider(max_blocks=40, launcher=SimpleLauncher())
    with ThreadPoolExecutor(8) as threads:
        ids = list(threads.map(lambda number: provider.submit(f"exit {number}", 1), range(40)))
    assert len(set(ids)) == 40
    assert [last_status(provider, job_id).exit_code for job_id in ids] == list(range(40))


def test_bash_is_there_for_worker_init_if_it_is_there_at_all(new_provider: New) -> None:
    if not os.access("/bin/bash", os.X_OK):
        pytest.skip("no bash here")
    provider = new_provider(worker_init="source /dev/null; words=(a b)", launcher=SimpleLauncher())
    assert last_status(provider, provider.submit('echo "${#words[@]}"', 1)).stdout == "2\n"


# ---- cancelling


def test_cancel_ends_the_whole_group_and_tells_the_truth(provider: LocalProvider, tmp_path: Path) -> None:
    ended = provider.submit("exit 3", 1)
    last_status(provider, ended)
    running = provider.submit(f"sh -c 'echo $$ >{tmp_path}/pid; sleep 1000'", 2)
    process = pid_in(tmp_path / "pid")
    assert provider.cancel([ended, running, "nobody", running]) == [True, True, False, True]
    eventually(lambda: is_gone(process))
    states = [status.state for status in provider.status([ended, running])]
    assert states == [JobState.FAILED, JobState.CANCELLED]
    assert (provider.status([running])[0].message or "").startswith("cancelled: ")
    assert provider.cancel([running]) == [True]


@pytest.mark.parametrize("copies", [1, 2])
def test_cancel_ends_what_ignores_sigterm(new_provider: New, tmp_path: Path, copies: int) -> None:
    provider = new_provider(cmd_timeout=0.6)
    job_id = provider.submit(f"trap '' TERM; echo $$ >{tmp_path}/pid; sleep 1000; sleep 1000", copies)
    process = pid_in(tmp_path / "pid")
    assert eventually(lambda: provider.cancel([job_id])) == [True]
    eventually(lambda: is_gone(process))
    assert provider.status([job_id])[0].state == JobState.CANCELLED


@pytest.mark.parametrize("copies", [1, 2])
def test_cancel_lets_a_manager_tidy_up(
    provider: LocalProvider, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, copies: int
) -> None:
    monkeypatch.setattr(process_group, "_BEGINNING_S", 0)  # this one is up sooner than a real manager
    program = tmp_path / "manager.py"
    program.write_text(
        "import os, signal, sys, time\n"
        "def tidy(*_): time.sleep(0.3); print('tidied', flush=True); sys.exit(0)\n"
        "signal.signal(signal.SIGTERM, tidy)\n"
        f"open('{tmp_path}/ready.' + str(os.getpid()), 'w').close()\n"
        "time.sleep(1000)\n"
    )
    job_id = provider.submit(shlex.join([sys.executable, str(program)]), copies)
    eventually(lambda: len(list(tmp_path.glob("ready.*"))) == copies)
    assert provider.cancel([job_id]) == [True]
    [status] = provider.status([job_id])
    assert (status.state, status.exit_code) == (JobState.CANCELLED, 143)
    assert (status.stdout or "").count("tidied") == copies


def test_a_cancelled_worker_init_does_not_go_on_to_the_command(new_provider: New, tmp_path: Path) -> None:
    provider = new_provider(worker_init=f"touch {tmp_path}/began; sleep 1000")
    job_id = provider.submit(f"touch {tmp_path}/command", 1)
    eventually((tmp_path / "began").exists)
    assert provider.cancel([job_id]) == [True]
    assert not (tmp_path / "command").exists()


def test_a_block_can_be_cancelled_before_its_script_has_begun(provider: LocalProvider) -> None:
    for _ in range(20):
        job_id = provider.submit("sleep 1000", 1)
        assert provider.cancel([job_id]) == [True]
        assert provider.status([job_id])[0].state == JobState.CANCELLED


def test_a_process_that_does_not_end_is_told_as_not_ended(
    provider: LocalProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    job_id = provider.submit("sleep 1000", 1)
    with monkeypatch.context() as patch:
        # What hangs in the kernel cannot be made here; a signal that does nothing looks the same.
        patch.setattr(process_group, "_signal_group", lambda group, number: None)
        patch.setattr(provider, "cmd_timeout", 0.2)
        assert provider.cancel([job_id]) == [False]
        assert provider.status([job_id])[0].state == JobState.RUNNING
    assert provider.cancel([job_id]) == [True]


# ---- blocks that cannot be started


def test_a_provider_without_script_dir_says_what_to_set(new_provider: New) -> None:
    with pytest.raises(ConfigurationError, match=r"provider\.script_dir"):
        new_provider(script_dir=None).submit("true", 1)


def test_a_launcher_that_gives_no_text_starts_nothing(new_provider: New, script_dir: Path) -> None:
    with pytest.raises(BadLauncher):
        new_provider(launcher=lambda command, tasks, nodes: None).submit("true", 1)
    assert not script_dir.exists()


def test_no_shell_at_all_is_named(
    provider: LocalProvider, script_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(local, "SHELLS", ("/nowhere/bash", "/nowhere/sh"))
    with pytest.raises(
        ScaleOutFailed, match="no shell to run its script, looked for /nowhere/bash, /nowhere/sh"
    ):
        provider.submit("true", 1)
    assert not script_dir.exists()


def test_no_shell_for_the_guard_is_named_and_leaves_no_files(
    provider: LocalProvider, script_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(process_group, "GUARD_SHELL", "/nowhere/sh")
    with pytest.raises(ScaleOutFailed, match=r"No such file or directory \(ENOENT\): /nowhere/sh") as caught:
        provider.submit("true", 1)
    assert isinstance(caught.value.__cause__, OSError) and list(script_dir.iterdir()) == []


def test_no_descriptor_left_is_named_with_its_errno(provider: LocalProvider, script_dir: Path) -> None:
    provider.submit("true", 1)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    highest = max(int(name) for name in os.listdir("/proc/self/fd"))
    fillers: list[int] = []
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (highest + 1, hard))
        while True:
            try:
                fillers.append(os.open("/dev/null", os.O_RDONLY))
            except OSError as error:
                assert error.errno == errno.EMFILE
                break
        for free in range(4):  # enough for the script, for a lifeline, for the files in turn
            if free and fillers:
                os.close(fillers.pop())
            with pytest.raises(ExecutionProviderException, match="EMFILE"):
                provider.submit("true", 1)
    finally:
        for filler in fillers:
            os.close(filler)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert len(list(script_dir.iterdir())) == 3  # of the first


def _submit_as_nobody(directory: Path, answer: Any) -> None:
    os.setuid(65534)
    try:
        LocalProvider(script_dir=directory / "scripts").submit("true", 1)
    except ScriptPathError as error:
        answer.put(str(error))
    else:
        answer.put("no error")


@pytest.mark.skipif(os.getuid() != 0, reason="only root can become somebody else")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_directory_of_somebody_else_is_named_with_its_errno(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    context = multiprocessing.get_context("fork")  # what is needed is imported; nobody may not read it
    answer = context.SimpleQueue()
    process = context.Process(target=_submit_as_nobody, args=(tmp_path, answer))
    process.start()
    text = answer.get()
    process.join()
    process.close()
    answer.close()
    assert "Permission denied (EACCES)" in text and str(tmp_path) in text


# ---- forks of this process


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_fork_of_this_process_knows_that_the_blocks_are_not_its_own(provider: LocalProvider) -> None:
    job_id = provider.submit("sleep 1000", 1)
    child = os.fork()
    if child == 0:
        try:
            [status] = provider.status([job_id])
            right = status.state == JobState.UNKNOWN and provider.cancel([job_id]) == [False]
        finally:
            os._exit(0 if right else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert provider.status([job_id])[0].state == JobState.RUNNING


# ---- any course of events

STEPS = st.lists(
    st.one_of(
        st.tuples(
            st.just("submit"),
            st.sampled_from(["sleep 1000", "exit 0", "exit 9", "trap '' TERM; sleep 9; sleep 9"]),
        ),
        st.tuples(st.just("cancel"), st.sets(st.integers(0, 4))),
        st.tuples(st.just("kill"), st.integers(0, 4)),
    ),
    max_size=8,
)


@settings(max_examples=25, deadline=None)
@given(steps=STEPS)
@example(steps=[("submit", "sleep 1000"), ("kill", 0), ("cancel", {0}), ("cancel", {0})])
def test_whatever_happens_a_job_ends_once_and_keeps_its_last_status(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[str, Any]]
) -> None:
    provider = LocalProvider(
        script_dir=tmp_path_factory.mktemp("s"), cmd_timeout=0.1, launcher=SimpleLauncher()
    )
    ids: list[str] = []
    last: dict[str, JobStatus] = {}
    try:
        for step, what in steps:
            if step == "submit":
                ids.append(provider.submit(what, 1))
            elif step == "cancel":
                provider.cancel([ids[number] for number in what if number < len(ids)])
            elif what < len(ids) and provider.status([ids[what]])[0].state == JobState.RUNNING:
                provider._blocks[ids[what]].group.send_signal(signal.SIGKILL)
            for job_id, status in zip(ids, provider.status(ids), strict=True):
                assert last.setdefault(job_id, status) == status if job_id in last else True
                if status.terminal:
                    last[job_id] = status
                    assert status.exit_code is not None and (status.exit_code == 0) <= (
                        status.state in (JobState.COMPLETED, JobState.CANCELLED)
                    )
                else:
                    assert (status.state, status.exit_code) == (JobState.RUNNING, None)
    finally:
        eventually(lambda: all(provider.cancel(ids)))
