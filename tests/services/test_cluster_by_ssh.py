"""A scheduler on another machine: its commands are run there, and what jobs need and leave goes there and back.

The scheduler is played, as in tests/providers/schedulers; the machine has a real sshd.
"""

import os
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from parsl_pool import Config, HighThroughputExecutor, ParslPoolExecutor
from parsl_pool.providers import JobState, SimpleLauncher, SlurmProvider
from parsl_pool.providers.channels.ssh import SSHChannel
from tests.eventually import eventually
from tests.providers.schedulers import played
from tests.services.sshd import Sshd

pytestmark = pytest.mark.service
ROOT = Path(__file__).parents[2]
INIT = f"export PATH='{Path(sys.executable).parent}':$PATH PYTHONPATH='{ROOT}'"


@pytest.fixture
def login_node(channel_to: Callable[..., SSHChannel], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SSHChannel:
    """Where the scheduler's commands are, and here they are not."""
    (tmp_path / "queue").mkdir()
    with monkeypatch.context() as there:
        before = dict(os.environ)
        played.install(tmp_path / "bin", "slurm", tmp_path / "queue", there)
        envs = {name: value for name, value in os.environ.items() if before.get(name) != value}
    return channel_to(envs=envs)


def slurm(channel: SSHChannel) -> SlurmProvider:
    provider = SlurmProvider(channel=channel, launcher=SimpleLauncher(), cmd_timeout=20, worker_init=INIT)
    provider.status_polling_interval = 0.2
    return provider


def test_a_job_runs_there_and_its_output_comes_here(login_node: SSHChannel, sshd: Sshd, tmp_path: Path) -> None:
    provider = slurm(login_node)
    provider.script_dir = tmp_path / "it's here"
    job = provider.submit("pwd; echo err >&2; exit 7", 1)
    assert eventually(lambda: provider.status([job])[0].terminal)
    (status,) = provider.status([job])
    assert (status.state, status.exit_code, status.stderr) == (JobState.FAILED, 7, "err\n")
    assert list((sshd.home / ".parsl_pool").glob("run-*/*.sh"))
    provider.close()
    assert not list((sshd.home / ".parsl_pool").iterdir())


def test_a_submit_whose_connection_was_cut_is_found(login_node: SSHChannel, sshd: Sshd, tmp_path: Path) -> None:
    provider = slurm(login_node)
    provider.script_dir = tmp_path / "here"
    (tmp_path / "real").mkdir()
    (tmp_path / "bin" / "sbatch").rename(tmp_path / "real" / "sbatch")
    slow = tmp_path / "bin" / "sbatch"
    slow.write_text(f"#!/bin/sh\n{tmp_path}/real/sbatch \"$@\" >{tmp_path}/answer; touch {tmp_path}/done; sleep 30\n")
    slow.chmod(0o700)

    def cut() -> None:
        eventually((tmp_path / "done").exists)
        sshd.cut()

    thread = threading.Thread(target=cut)
    thread.start()
    job = provider.submit("sleep 100", 1)
    thread.join()
    assert job in (tmp_path / "answer").read_text()
    assert eventually(lambda: provider.status([job])[0].state is JobState.RUNNING)
    assert provider.cancel([job]) == [True]
    provider.close()


def double(number: int) -> int:
    return 2 * number


@pytest.mark.parametrize("address", ["127.0.0.1", "tunnel"])
def test_a_pool(login_node: SSHChannel, sshd: Sshd, tmp_path: Path, address: str) -> None:
    executor = HighThroughputExecutor(provider=slurm(login_node), max_workers_per_node=2, address=address)
    with ParslPoolExecutor(Config([executor], run_dir=str(tmp_path / "runs"))) as pool:
        assert list(pool.map(double, range(500))) == list(range(0, 1000, 2))
        (ticket,) = (sshd.home / ".parsl_pool").glob("run-*/ticket")
        assert ticket.stat().st_mode & 0o777 == 0o600
    assert not list((sshd.home / ".parsl_pool").iterdir())
