"""Real servers for a test, and channels that are closed after it."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from parsl_pool.providers.channels.ssh import SSHChannel
from tests.services import hosts
from tests.services.hosts import Hosts
from tests.services.sshd import PROGRAM, Sshd
from tests.services.store_servers import Servers, running


@pytest.fixture(scope="session")
def two_hosts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hosts | str]:
    """Two that share nothing; or why there are none."""
    if reason := hosts.why_not():
        yield reason
        return
    made = Hosts(tmp_path_factory.mktemp("hosts"), tmp_path_factory.getbasetemp(), ("one", "two"))
    try:
        yield made
    finally:
        made.remove()


@pytest.fixture(scope="session")
def servers(two_hosts: Hosts | str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    """All that keep files; the hosts can reach them."""
    with running(tmp_path_factory.mktemp("stores"), "127.0.0.1" if isinstance(two_hosts, str) else two_hosts.us) as all:
        yield all


@pytest.fixture
def sshd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Sshd]:
    """One that is up."""
    if PROGRAM is None:
        pytest.skip("there is no sshd on this machine (Debian: openssh-server)")
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    server = Sshd(tmp_path / "sshd")
    yield server
    server.stop()


@pytest.fixture
def channel_to(sshd: Sshd) -> Iterator[Callable[..., SSHChannel]]:
    """Makes channels to it."""
    made: list[SSHChannel] = []

    def new(hostname: str = "here", **options: Any) -> SSHChannel:
        made.append(SSHChannel(hostname, **{"config_filename": sshd.config, **options}))
        return made[-1]

    yield new
    for channel in made:
        channel.close()


@pytest.fixture
def channel(channel_to: Callable[..., SSHChannel]) -> SSHChannel:
    return channel_to()
