"""Files of SSH servers, by SFTP and by rsync, against a real sshd."""

import os
import pwd
import shutil
import socket
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from parsl_pool import Config, File, ParslPoolExecutor, ThreadPoolExecutor, python_app
from parsl_pool.errors import ConfigurationError, TransferFailed
from parsl_pool.staging import RSyncStaging
from parsl_pool.staging.transfers import rsync, sftp
from parsl_pool.staging.transfers.options import Transfer
from tests.eventually import eventually
from tests.services.sshd import Sshd, needs_sshd

pytestmark = [needs_sshd, pytest.mark.timeout(90)]

BODY = bytes(range(256)) * 40_000  # about ten megabytes: more than one window

Carry = Callable[..., None]


@pytest.fixture
def options(sshd: Sshd) -> Transfer:
    return Transfer(ssh_config=str(sshd.config), pause=0.001, retries=2, connect_timeout=20)


@pytest.fixture
def there(tmp_path: Path) -> Path:
    """A directory of that machine, which is this one."""
    path = tmp_path / "there"
    path.mkdir()
    (path / "data").write_bytes(BODY)
    return path


@pytest.fixture
def target(tmp_path: Path) -> Path:
    path = tmp_path / "here"
    path.mkdir()
    return path / "data"


def failure(carry: Carry, *arguments: Any) -> str:
    with pytest.raises(TransferFailed) as raised:
        carry(*arguments)
    return str(raised.value)


@pytest.mark.parametrize("name", ["data", "a b", "größe", "a#b?c%d", "-x"])
def test_a_file_comes_and_goes_by_sftp(name: str, options: Transfer, there: Path, target: Path) -> None:
    url = f"sftp://here{quote(str(there / name))}"
    source = target.parent / "source"
    source.write_bytes(BODY[::-1])
    sftp.send(source, url, options)
    assert (there / name).read_bytes() == BODY[::-1]
    sftp.fetch(url, target, options)
    assert target.read_bytes() == BODY[::-1]
    assert sorted(path.name for path in target.parent.iterdir()) == ["data", "source"]
    assert sorted(path.name for path in there.iterdir()) == sorted({"data", name})


def test_a_path_may_begin_at_the_home(options: Transfer, target: Path) -> None:
    home = Path(pwd.getpwuid(os.getuid()).pw_dir)
    name = f".parsl-pool-test-{target.parent.parent.name}"
    (home / name).write_text("x")
    try:
        sftp.fetch(f"sftp://here/~/{name}", target, options)
    finally:
        (home / name).unlink()
    assert target.read_text() == "x"


# A thread of paramiko's that asks ahead when the connection is cut dies of it.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_what_was_cut_goes_on_where_it_was(
    sshd: Sshd, options: Transfer, there: Path, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begins: list[int] = []
    take = sftp._Download._take_window

    def cut_once(self: Any, file: Any, size: int) -> None:
        begins.append(self._landing.size)
        if len(begins) == 2:
            sshd.cut()
        take(self, file, size)

    monkeypatch.setattr(sftp._Download, "_take_window", cut_once)
    sftp.fetch(f"sftp://here{there}/data", target, options)
    assert target.read_bytes() == BODY
    assert begins[2] >= begins[1] > 0


def test_what_is_not_there_is_said_at_once(options: Transfer, there: Path, target: Path) -> None:
    text = failure(sftp.fetch, f"sftp://here{there}/none", target, options)
    assert text == f"sftp://here{there}/none: could not be fetched to {target}: the server says: No such file"
    assert not list(target.parent.iterdir())


def test_a_directory_that_is_missing_there_is_said(options: Transfer, there: Path) -> None:
    text = failure(sftp.send, there / "data", f"sftp://here{there}/none/new", options)
    assert text.endswith("could not be sent there: the server says: No such file")


def test_a_key_that_is_not_known_is_refused(sshd: Sshd, options: Transfer, there: Path, target: Path) -> None:
    sshd.new_host_key()
    text = failure(sftp.fetch, f"sftp://here{there}/data", target, options)
    assert "its key has changed" in text and "tried" not in text


def test_a_server_that_is_down_is_tried_again(options: Transfer, target: Path) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
        text = failure(sftp.fetch, f"sftp://me:open-sesame@127.0.0.1:{port}/data", target, options)
    assert "cannot connect to 127.0.0.1" in text and text.endswith("(tried 3 times)") and "sesame" not in text


def test_a_url_without_a_file_is_wrong(target: Path) -> None:
    with pytest.raises(ConfigurationError, match="names no file"):
        sftp.fetch("sftp://here/", target)


needs_rsync = pytest.mark.skipif(shutil.which("rsync") is None, reason="there is no rsync (Debian: rsync)")


@needs_rsync
@pytest.mark.parametrize("name", ["data", "a b", "größe", "a'b$HOME"])
def test_a_file_comes_and_goes_by_rsync(name: str, options: Transfer, there: Path, target: Path) -> None:
    source = target.parent / "source"
    source.write_bytes(BODY[::-1])
    rsync.send(source, f"here:{there / name}", options)
    assert (there / name).read_bytes() == BODY[::-1]
    rsync.fetch(f"here:{there / name}", target, options)
    assert target.read_bytes() == BODY[::-1]
    assert sorted(path.name for path in target.parent.iterdir()) == ["data", "source"]


@needs_rsync
def test_a_name_is_no_pattern_of_rsync_s(options: Transfer, there: Path, target: Path) -> None:
    (there / "a[b]*c").write_text("right")
    (there / "abzc").write_text("what a pattern would find")
    rsync.fetch(f"here:{there}/a[b]*c", target, options)
    assert target.read_text() == "right"


@needs_rsync
def test_a_key_that_is_not_known_ends_rsync_at_once(
    sshd: Sshd, options: Transfer, there: Path, target: Path
) -> None:
    sshd.new_host_key()
    text = failure(rsync.fetch, f"here:{there}/data", target, options)
    assert "Host key verification failed" in text and "tried" not in text
    assert not list(target.parent.iterdir())


def test_transfers_leave_no_threads(options: Transfer, there: Path, target: Path) -> None:
    before = set(threading.enumerate())
    sftp.fetch(f"sftp://here{there}/data", target, options)
    eventually(lambda: set(threading.enumerate()) <= before)


def shout(source: os.PathLike[str], outputs: tuple[os.PathLike[str], ...] = ()) -> None:
    Path(outputs[0]).write_text(Path(source).read_text().upper())


@needs_rsync
def test_a_task_gets_its_files_by_rsync_and_gives_them_back(options: Transfer, there: Path, tmp_path: Path) -> None:
    (there / "in put").write_text("hello")
    executor = ThreadPoolExecutor(storage_access=[RSyncStaging("here", options)], working_dir=tmp_path / "working")
    with ParslPoolExecutor(Config([executor], run_dir=None)) as pool:
        future = python_app(shout, data_flow_kernel=pool)(File(there / "in put"), outputs=[File(there / "out put")])
        assert future.outputs[0].result(60).path == str(there / "out put")
    assert (there / "out put").read_text() == "HELLO"
