"""Servers for transfers, an authority that signs for them, and options that do not wait long."""

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from parsl_pool.staging.transfers import web_kept
from parsl_pool.staging.transfers.options import Transfer
from tests.services.certificates import Authority
from tests.services.web_faults import WebFaults

BODY = bytes(range(256)) * 4000  # about a megabyte
QUICK = Transfer(pause=0.001, longest_pause=2, silence=30, retries=2)


@pytest.fixture(autouse=True)
def no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of those that this machine may have."""
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy", "ftp_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


@pytest.fixture(autouse=True)
def kept(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Connections end with their test, not before: on a busy machine a second is soon over."""
    monkeypatch.setattr(web_kept, "KEPT_S", 600.0)
    yield
    web_kept.end()


@pytest.fixture
def server() -> Iterator[WebFaults]:
    with WebFaults() as server:
        yield server
    assert not server.errors


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture
def nobody() -> Iterator[str]:
    """HOST:PORT at which nobody listens, and nobody will while this lasts."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        yield f"127.0.0.1:{unused.getsockname()[1]}"


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A file of a megabyte, `BODY`."""
    path = tmp_path / "source"
    path.write_bytes(BODY)
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An empty one, for what is fetched."""
    path = tmp_path / "here"
    path.mkdir()
    return path


@pytest.fixture
def target(folder: Path) -> Path:
    return folder / "data.bin"
