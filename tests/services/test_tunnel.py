"""`address="tunnel"`: managers come home through the provider's SSH connection, here that of a real sshd."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from parsl_pool import Config, HighThroughputExecutor, ParslPoolExecutor
from parsl_pool.errors import PoolBroken
from parsl_pool.interchange import curve, reach
from parsl_pool.providers import AdHocProvider, Channel, LocalProvider
from parsl_pool.providers.channels.ssh import SSHChannel
from tests.eventually import eventually
from tests.recovery.arrangement import Arrangement, listening
from tests.services.sshd import Sshd, needs_sshd
from tests.services.test_adhoc import INIT

pytestmark = [needs_sshd, pytest.mark.service, pytest.mark.timeout(120)]


class Far(LocalProvider):
    """Its blocks are on the machine to which the channel leads, which is this one."""

    def __init__(self, channel: Channel, **options: Any) -> None:
        super().__init__(**options)
        self.channel = channel

    def channels(self) -> list[Channel]:
        return [self.channel]

    def close(self) -> None:
        self.channel.close()


def pool_through(sshd: Sshd, **options: Any) -> ParslPoolExecutor:
    channel = SSHChannel("here", config_filename=sshd.config)
    executor = HighThroughputExecutor(
        provider=Far(channel), address="tunnel", max_workers_per_node=2, manager_inside=False, **options
    )
    return ParslPoolExecutor(Config([executor], run_dir=None))


def told(pool: ParslPoolExecutor) -> list[str]:
    return curve.read_ticket(pool._backend.link._apart._ticket).addresses


def slow_triple(number: int) -> int:
    time.sleep(0.01)
    return 3 * number


def test_managers_connect_to_the_far_end_alone(sshd: Sshd) -> None:
    with pool_through(sshd) as pool:
        assert pool.submit(os.getpid).result(60) != os.getpid()
        (address,) = told(pool)
        (door,) = listening(Arrangement(inside=False).parts(pool).interchange)
        assert door.laddr.ip == "127.0.0.1" and reach.split(address) != door.laddr
        manager = Arrangement(inside=False).parts(pool).manager
        (connection,) = [each for each in manager.net_connections("tcp") if each.raddr]
        assert connection.raddr == reach.split(address)
        assert connection.raddr.port in {each.laddr.port for part in sshd.sessions() for each in listening(part)}
        assert len(pool.submit(bytes, 5_000_000).result(60)) == 5_000_000


def test_a_connection_that_is_cut_costs_no_task(sshd: Sshd) -> None:
    with pool_through(sshd, lost_retries=0) as pool:
        futures = [pool.submit(slow_triple, number) for number in range(600)]
        for done in (50, 300):
            eventually(lambda: sum(future.done() for future in futures) >= done, within=60)  # noqa: B023  # called here
            sshd.cut()
        assert [future.result(60) for future in futures] == [3 * number for number in range(600)]


def test_a_port_that_moves_is_found(sshd: Sshd) -> None:
    """The session that was cut may keep its port for long."""
    with pool_through(sshd, heartbeat_threshold=12) as pool:
        assert pool.submit(abs, -1).result(60) == 1
        (before,) = told(pool)
        managers = set(pool._backend.workers.managers)
        sessions = sshd.sessions()
        for process in sessions:
            process.suspend()  # as if the network were gone: it keeps the port
        pool._backend.link._apart._provider.channel._connection.close()
        try:
            eventually(lambda: told(pool) != [before], within=60)
            assert pool.submit(abs, -2).result(60) == 2
            assert set(pool._backend.workers.managers) == managers
        finally:
            for process in sessions:
                process.kill()


def test_where_nobody_can_log_in_the_pool_says_so(sshd: Sshd) -> None:
    sshd.stop()
    with pool_through(sshd) as pool:
        error = pool.submit(abs, -1).exception(60)
    assert isinstance(error, PoolBroken)
    assert "managers can't be told how to find the interchange" in str(error) and "here" in str(error)
    sshd.start()


def pid_of(_: int) -> tuple[int, int]:
    time.sleep(0.02)
    return os.getppid(), os.getpid()


def test_hosts_with_files_of_their_own_each_have_a_tunnel_and_one_that_is_away_harms_none(
    sshd: Sshd, channel_to: Callable[..., SSHChannel], tmp_path: Path
) -> None:
    away = SSHChannel("127.0.0.1", port=1, config_filename=os.devnull, host_keys_filename=sshd.known_hosts)
    provider = AdHocProvider([channel_to(), away, channel_to()], worker_init=INIT, move_files=True)
    executor = HighThroughputExecutor(provider=provider, max_workers_per_node=1, address="tunnel", lost_retries=0)
    with ParslPoolExecutor(Config([executor], run_dir=str(tmp_path / "runs"), strategy="none")) as pool:
        assert pool.submit(abs, -1).result(60) == 1
        eventually(lambda: len(pool._backend.workers.managers) == 2, within=60)
        futures = [pool.submit(pid_of, number) for number in range(300)]
        eventually(lambda: sum(future.done() for future in futures) >= 20, within=60)
        sshd.cut()
        assert len({future.result(60) for future in futures}) == 2
        addresses = told(pool)
        assert len(addresses) == 2 and all(address.startswith("tcp://127.0.0.1:") for address in addresses)
        (door,) = listening(Arrangement(inside=False).parts(pool).interchange)
        assert door.laddr.port not in {reach.split(address)[1] for address in addresses}
