"""Files by rsync, from and to its own server."""

import shutil
import socket
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest

from parsl_pool.errors import ConfigurationError, TransferFailed
from parsl_pool.staging.transfers.options import Transfer
from parsl_pool.staging.transfers.rsync import fetch, send
from tests.services.rsync_daemon import Daemon
from tests.staging.transfers.conftest import BODY, QUICK

pytestmark = [
    pytest.mark.timeout(60),
    pytest.mark.skipif(shutil.which("rsync") is None, reason="there is no rsync on this machine (Debian: rsync)"),
]


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Daemon]:
    daemon = Daemon(tmp_path / "rsync")
    (daemon.folder / "data").write_bytes(BODY)
    yield daemon
    daemon.stop()


def of_fetch(url: str, target: Path, options: Transfer = QUICK) -> str:
    with pytest.raises(TransferFailed) as raised:
        fetch(url, target, options)
    assert not list(target.parent.iterdir())
    return str(raised.value)


@pytest.mark.parametrize("name", ["data", "a b", "größe", "-x", "a'b\"c", "a\\b"])
def test_a_file_comes_and_goes(name: str, daemon: Daemon, target: Path, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.write_bytes(BODY[::-1])
    send(source, daemon.url(quote(name)), QUICK)
    assert (daemon.folder / name).read_bytes() == BODY[::-1]
    fetch(daemon.url(quote(name)), target, QUICK)
    assert target.read_bytes() == BODY[::-1] and list(target.parent.iterdir()) == [target]


def test_a_name_is_no_pattern(daemon: Daemon, target: Path, tmp_path: Path) -> None:
    (daemon.folder / "a[b]*?c").write_text("right")
    (daemon.folder / "abbzc").write_text("what a pattern would find")
    fetch(daemon.url(quote("a[b]*?c")), target, QUICK)
    assert target.read_text() == "right"
    source = tmp_path / "source"
    source.write_text("new")
    send(source, daemon.url(quote("a[b]*?c")), QUICK)
    send(source, daemon.url(quote("a[b]?")), QUICK)
    texts = {file.name: file.read_text() for file in daemon.folder.iterdir() if file.name != "data"}
    assert texts == {"a[b]*?c": "new", "a[b]?": "new", "abbzc": "what a pattern would find"}
    with pytest.raises(ConfigurationError, match="takes .* in names of folders for patterns"):
        send(source, daemon.url(quote("a[b]/c")), QUICK)
    with pytest.raises(ConfigurationError, match="takes .* in names of folders for patterns"):
        send(source, "host:a*", QUICK)


def test_what_is_not_there_is_said_at_once(daemon: Daemon, target: Path) -> None:
    text = of_fetch(daemon.url("none"), target)
    assert "rsync ended with exit code 23: " in text and "No such file or directory" in text and "tried" not in text


def test_a_module_that_is_not_there_is_said(daemon: Daemon, target: Path) -> None:
    assert "Unknown module 'closed'" in of_fetch(daemon.url("data", "closed"), target)


def test_a_password_lets_us_in_and_is_not_told(daemon: Daemon, target: Path) -> None:
    text = of_fetch(daemon.url("data", "locked", "me:sesame-open@"), target)
    assert "auth failed on module locked" in text and "sesame" not in text and "tried" not in text
    assert "auth failed" in of_fetch(daemon.url("data", "locked"), target)  # nobody is asked for it
    fetch(daemon.url("data", "locked", "me:open-sesame@"), target, QUICK)
    assert target.read_bytes() == BODY


def test_who_may_not_write_is_told(daemon: Daemon, tmp_path: Path) -> None:
    (tmp_path / "source").write_bytes(BODY)
    with pytest.raises(TransferFailed, match="module is read only"):
        send(tmp_path / "source", daemon.url("new", "unwritable"), QUICK)
    assert not (daemon.folder / "new").exists()


def test_a_server_that_is_down_is_tried_again(target: Path) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        text = of_fetch(f"rsync://127.0.0.1:{unused.getsockname()[1]}/open/data", target)
    assert "Connection refused" in text and text.endswith("(tried 3 times)")


def test_without_rsync_it_says_so(target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(target.parent))
    assert "rsync can't be started" in of_fetch("rsync://127.0.0.1/open/data", target)


@pytest.mark.parametrize("url", ["rsync://host/module", "rsync:/x/y", "path", "/a:b", ":path", "-e:path", "host:"])
def test_what_names_no_file_is_wrong(url: str, target: Path) -> None:
    with pytest.raises(ConfigurationError, match="rsync://HOST/"):
        fetch(url, target)
