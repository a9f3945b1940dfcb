import contextlib
import os
import pickle
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import psutil
import pytest

from parsl_pool import Config, HighThroughputExecutor, ParslPoolExecutor
from parsl_pool.errors import ScaleOutFailed
from parsl_pool.providers import AdHocProvider, JobState, LocalChannel
from parsl_pool.providers.channels.base import CommandResult
from parsl_pool.providers.channels.ssh import SSHChannel
from parsl_pool.providers.states import JobStatus
from tests.eventually import eventually
from tests.services.sshd import Sshd

pytestmark = pytest.mark.service
ROOT = Path(__file__).parents[2]
INIT = f"export PATH='{Path(sys.executable).parent}':$PATH PYTHONPATH='{ROOT}'"


@pytest.fixture(params=["ssh", "local"])
def provider(request: pytest.FixtureRequest, channel_to: Callable[..., SSHChannel], tmp_path: Path) -> Iterator[Any]:
    """With two hosts: far ones that see none of our files, or this machine."""
    far = request.param == "ssh"
    hosts = [channel_to(), channel_to()] if far else [LocalChannel(), LocalChannel()]
    made = AdHocProvider(hosts, cmd_timeout=10, move_files=True if far else None)
    made.script_dir = tmp_path / "scripts dir"
    made.status_polling_interval = 0.1
    yield made
    assert all(made.cancel(list(made._blocks)))
    made.close()


def submitted(provider: AdHocProvider, command: str) -> str:
    job = provider.submit(command, 1)
    assert job, "there is room for it"
    return job


def end_of(provider: AdHocProvider, job: str) -> JobStatus:
    eventually(lambda: provider.status([job])[0].terminal, within=20)
    return provider.status([job])[0]


def test_a_block_tells_its_end_and_what_it_has_written(provider: AdHocProvider) -> None:
    job = submitted(provider, "echo hello; echo no >&2; exit 3")
    status = end_of(provider, job)
    assert (status.state, status.exit_code, status.stdout, status.stderr) == (JobState.FAILED, 3, "hello\n", "no\n")
    assert end_of(provider, submitted(provider, "true")).state is JobState.COMPLETED
    killed = end_of(provider, submitted(provider, "kill -9 $$"))
    assert (killed.state, killed.exit_code) == (JobState.FAILED, 137)


def test_one_block_a_host(provider: AdHocProvider) -> None:
    jobs = [submitted(provider, "sleep 100"), submitted(provider, "sleep 100")]
    assert provider.submit("true", 1) is None, "each host has one"
    assert [status.state for status in provider.status(jobs)] == [JobState.RUNNING] * 2
    assert provider.cancel(jobs[:1]) == [True]
    assert [status.state for status in provider.status(jobs)] == [JobState.CANCELLED, JobState.RUNNING]
    assert provider.status([submitted(provider, "sleep 100")])[0].state is JobState.RUNNING


def test_cancel_ends_all_of_a_block(provider: AdHocProvider, tmp_path: Path) -> None:
    file = tmp_path / "pid"
    job = submitted(provider, f"trap '' TERM; (sleep 200 & echo $! >{file}.new; mv {file}.new {file}); sleep 100")
    eventually((tmp_path / "pid").exists)
    pid = int((tmp_path / "pid").read_text())
    assert provider.cancel([job]) == [True] and provider.cancel([job]) == [True]
    assert eventually(lambda: not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE)


def test_what_a_block_leaves_behind_ends_with_it(provider: AdHocProvider, tmp_path: Path) -> None:
    job = submitted(provider, f"sleep 200 & echo $! >{tmp_path}/pid")
    assert end_of(provider, job).state is JobState.COMPLETED
    pid = int((tmp_path / "pid").read_text())
    assert eventually(lambda: not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE)


def test_a_block_finds_the_files_that_were_brought(provider: AdHocProvider, tmp_path: Path) -> None:
    (tmp_path / "ticket").write_text("one")
    (tmp_path / "ticket").chmod(0o600)
    name = provider.bring(str(tmp_path / "ticket"))
    job = submitted(provider, f"stat -c %a {name}; while ! grep -q two {name}; do sleep 0.1; done")
    (tmp_path / "new").write_text("two")
    (tmp_path / "new").chmod(0o600)
    os.replace(tmp_path / "new", tmp_path / "ticket")
    provider.bring(str(tmp_path / "ticket"))
    assert end_of(provider, job).stdout == "600\n"


def test_nothing_is_left_there(sshd: Sshd, channel_to: Callable[..., SSHChannel], tmp_path: Path) -> None:
    provider = AdHocProvider([channel_to()], move_files=True)
    provider.script_dir = tmp_path
    assert end_of(provider, submitted(provider, "true")).state is JobState.COMPLETED
    assert [path.stat().st_mode & 0o777 for path in (sshd.home / ".parsl_pool").iterdir()] == [0o700]
    provider.close()
    assert list((sshd.home / ".parsl_pool").iterdir()) == []
    assert eventually(lambda: not sshd.sessions())


def test_whether_files_are_seen_there_is_found_out(channel_to: Callable[..., SSHChannel], tmp_path: Path) -> None:
    provider = AdHocProvider([channel_to()])
    provider.script_dir = tmp_path
    job = submitted(provider, "echo hello")
    assert end_of(provider, job).stdout == "hello\n"
    assert provider._hosts[0].sees_our_files
    provider.close()


def test_the_number_of_a_process_that_is_gone_says_nothing(provider: AdHocProvider) -> None:
    job = submitted(provider, "sleep 100")
    block = provider._blocks[job]
    group = block.group
    with contextlib.ExitStack() as stack:
        other = stack.enter_context(psutil.Popen(["sleep", "100"]))
        stack.callback(other.kill)
        block.group = other.pid
        status = provider.status([job])[0]
        assert status.state is JobState.FAILED and "left no exit code" in (status.message or "")
        block.last, block.group = JobStatus(JobState.RUNNING), group
        assert provider.cancel([job]) == [True] and other.is_running()


def test_a_host_that_is_away_keeps_what_it_has(
    sshd: Sshd, channel_to: Callable[..., SSHChannel], tmp_path: Path
) -> None:
    channel = channel_to()
    provider = AdHocProvider([channel], move_files=True)
    provider.script_dir = tmp_path / "scripts"
    first = submitted(provider, "sleep 100")
    sshd.stop()
    status = provider.status([first])[0]
    assert status.state is JobState.UNKNOWN and "here" in (status.message or "")
    assert provider.cancel([first]) == [False]
    second = submitted(provider, f"touch {tmp_path}/second")
    assert provider.status([second])[0].state is JobState.PENDING
    sshd.start()
    channel._not_before = 0.0
    assert end_of(provider, second).state is JobState.COMPLETED
    assert (tmp_path / "second").exists()
    assert provider.status([first])[0].state is JobState.CANCELLED
    provider.close()


def test_a_host_that_was_never_there_is_an_error(channel_to: Callable[..., SSHChannel], sshd: Sshd, tmp_path: Path
                                                 ) -> None:  # fmt: skip
    sshd.known_hosts.write_text("")
    provider = AdHocProvider([channel_to(), channel_to()])
    provider.script_dir = tmp_path
    with pytest.raises(ScaleOutFailed, match=r"its key is not known.*; .*its key is not known"):
        submitted(provider, "true")
    provider.close()


def test_what_a_process_that_was_killed_has_left_is_found_and_ended(
    sshd: Sshd, channel_to: Callable[..., SSHChannel], tmp_path: Path
) -> None:
    killed = AdHocProvider([channel_to()], move_files=True)
    killed.script_dir = tmp_path
    pickled = pickle.dumps(killed)
    job = killed.submit(f"echo $$ >{tmp_path}/pid; sleep 100", 1, "parsl_pool.my pool.0")
    assert job
    eventually((tmp_path / "pid").exists)
    provider: AdHocProvider = pickle.loads(pickled)
    assert provider.find("parsl_pool.my pool.0") == [job] and provider.find("parsl_pool.my pool.1") == []
    provider.adopt([job])
    assert provider.status([job])[0].state is JobState.RUNNING
    assert provider.cancel([job]) == [True] and provider.status([job])[0].state is JobState.CANCELLED
    assert provider.find("parsl_pool.my pool.0") == []
    assert not psutil.pid_exists(int((tmp_path / "pid").read_text()))
    assert list((sshd.home / ".parsl_pool").iterdir()) == []
    again: AdHocProvider = pickle.loads(pickled)
    again.adopt([job])
    assert again.status([job])[0].terminal
    for each in provider, again:
        each.close()
    for channel in killed.channels():
        channel.close()


class Named(LocalChannel):
    """This machine, by another name."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self.name = name

    def execute_wait(
        self, cmd: str, walltime: float | None = None, envs: Mapping[str, str] | None = None
    ) -> CommandResult:
        return super().execute_wait(f"uname() {{ echo {self.name}; }}\n{cmd}", walltime, envs)


def test_no_block_is_on_a_host_that_is_bad_but_for_the_last(tmp_path: Path) -> None:
    provider = AdHocProvider([Named("n1"), Named("n2")])
    provider.script_dir = tmp_path
    assert not provider.exclude("nowhere") and provider.exclude("n1") and not provider.exclude("n2")
    job = submitted(provider, "sleep 100")
    assert provider._blocks[job].host.name == "n2" and provider.submit("true", 1) is None
    assert provider.cancel([job]) == [True]
    provider.close()


# -- a pool


def where_am_i(_: int) -> tuple[int, str]:
    return os.getpid(), os.environ.get("HOME", "")


def test_a_pool_on_hosts_that_see_none_of_our_files(
    sshd: Sshd, channel_to: Callable[..., SSHChannel], tmp_path: Path
) -> None:
    provider = AdHocProvider([channel_to(), channel_to()], worker_init=INIT, move_files=True)
    executor = HighThroughputExecutor(provider=provider, max_workers_per_node=2, address="127.0.0.1")
    with ParslPoolExecutor(Config([executor], run_dir=str(tmp_path / "runs"))) as pool:
        seen = set(pool.map(where_am_i, range(200)))
        assert {home for _, home in seen} == {str(sshd.home)}
        here = {child.pid for child in psutil.Process().children(recursive=True)}
        assert not here & {pid for pid, _ in seen}
    assert list((sshd.home / ".parsl_pool").iterdir()) == []
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("parsl-pool-ssh")]
