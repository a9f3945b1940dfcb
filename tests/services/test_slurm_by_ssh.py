"""A real Slurm behind the sshd of its login node, and `address="tunnel"`: nodes come home through that alone."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from parsl_pool import Config, HighThroughputExecutor, ParslPoolExecutor
from parsl_pool.interchange import curve
from parsl_pool.providers import SlurmProvider, SrunLauncher
from parsl_pool.providers.channels.ssh import SSHChannel
from tests.eventually import eventually
from tests.recovery.arrangement import Arrangement, listening
from tests.services.clusters import SlurmCluster
from tests.services.pools import TASKS, Load
from tests.services.slurm import NODES
from tests.services.sshd import Sshd, needs_sshd
from tests.services.test_adhoc import INIT

pytestmark = [needs_sshd, pytest.mark.service, pytest.mark.slow, pytest.mark.timeout(240)]


@pytest.fixture
def provider(
    slurm: SlurmCluster, channel_to: Callable[..., SSHChannel], monkeypatch: pytest.MonkeyPatch
) -> SlurmProvider:
    """The commands work there only: here they do not know where the cluster is."""
    for name in slurm.service.environment:
        monkeypatch.delenv(name)
    channel = channel_to(envs=dict(slurm.service.environment))
    provider = SlurmProvider(
        channel=channel, launcher=SrunLauncher(), nodes_per_block=2, init_blocks=2, max_blocks=2, worker_init=INIT,
        cmd_timeout=30,
    )  # fmt: skip
    provider.status_polling_interval = 0.5
    return provider


def where(number: int) -> tuple[int, str, int]:
    time.sleep(0.01)
    return number, socket.gethostname(), os.getppid()


def test_nodes_come_home_through_the_login_node(
    slurm: SlurmCluster, provider: SlurmProvider, sshd: Sshd, tmp_path: Path
) -> None:
    executor = HighThroughputExecutor("far", provider=provider, address="tunnel", max_workers_per_node=2)
    with ParslPoolExecutor(Config([executor], run_dir=str(tmp_path / "runs"), strategy="none", lost_retries=0)) as pool:
        eventually(lambda: {host for _, host, _ in pool.map(where, range(80))} == set(NODES), within=120)
        assert len(slurm.jobs()) == 2
        (door,) = listening(Arrangement(inside=False).parts(pool).interchange)
        told = curve.read_ticket(pool._backend.link._apart._ticket).addresses
        assert door.laddr.ip == "127.0.0.1" and not any(each.endswith(f":{door.laddr.port}") for each in told)
        managers = set(pool._backend.workers.managers)
        futures = [pool.submit(where, number) for number in range(2000)]
        eventually(lambda: sum(future.done() for future in futures) >= 200, within=60)
        sshd.cut()  # all managers' connections, and the one by which Slurm is asked
        results = [future.result(90) for future in futures]
        assert [number for number, *_ in results] == list(range(2000))
        assert {host for _, host, _ in results} == set(NODES)
        assert set(pool._backend.workers.managers) == managers and len(managers) == 4
    assert not slurm.left(20)
    eventually(lambda: not list((sshd.home / ".parsl_pool").iterdir()))


def test_a_block_that_somebody_cancels_is_replaced_and_comes_by_the_same_tunnel(
    slurm: SlurmCluster, provider: SlurmProvider, tmp_path: Path
) -> None:
    executor = HighThroughputExecutor("far", provider=provider, address="tunnel", max_workers_per_node=2)
    with ParslPoolExecutor(Config([executor], run_dir=str(tmp_path / "runs"))) as pool:
        tasks = Load(pool, tmp_path / "begun")
        tasks.runs_on(set(NODES))
        tasks.add(TASKS)
        first = set(slurm.jobs())
        slurm.run("scancel", min(first))
        tasks.goes_on_until(lambda: len(set(slurm.jobs()) - first) == 1)
        assert tasks.is_done()
    assert not slurm.left(20)
