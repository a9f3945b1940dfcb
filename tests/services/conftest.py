"""Real servers for a test, and channels that are closed after it."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from parsl_pool.providers.channels.ssh import SSHChannel
from tests.services.sshd import PROGRAM, Sshd


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
