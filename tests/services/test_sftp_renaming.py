"""A file that is sent by SFTP takes the place of the one that was there, on a server that can't do so in one step.

The server is OpenSSH's own, without its extension for that.
"""

import os
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from parsl_pool.staging.transfers.sftp import _rename

SERVER = Path("/usr/lib/openssh/sftp-server")

pytestmark = [
    pytest.mark.timeout(30),
    pytest.mark.skipif(not SERVER.exists(), reason="needs OpenSSH's sftp-server (package openssh-sftp-server)"),
]


class Wire(socket.socket):
    """What paramiko takes for a channel."""

    def get_name(self) -> str:
        return "wire"


@pytest.fixture(params=[False, True], ids=["in one step", "in three"])
def client(request: pytest.FixtureRequest) -> Iterator[Any]:
    paramiko = pytest.importorskip("paramiko")
    ours, theirs = socket.socketpair()
    without = ["-P", "posix-rename"] if request.param else []
    server = subprocess.Popen([str(SERVER), *without], stdin=theirs.fileno(), stdout=theirs.fileno())
    theirs.close()
    try:
        with Wire(fileno=ours.detach()) as wire:
            yield paramiko.SFTPClient(wire)
    finally:
        server.kill()
        server.wait()


def test_it_takes_the_place_of_what_was_there(client: Any, tmp_path: Path) -> None:
    for old in ("old", None):
        (tmp_path / "a.part").write_text("new")
        if old is not None:
            (tmp_path / "a").write_text(old)
        _rename(client, str(tmp_path / "a.part"), str(tmp_path / "a"))
        assert (tmp_path / "a").read_text() == "new" and os.listdir(tmp_path) == ["a"]
        (tmp_path / "a").unlink()


def test_a_link_is_replaced_and_a_folder_is_not(client: Any, tmp_path: Path) -> None:
    (tmp_path / "a.part").write_text("new")
    (tmp_path / "folder").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "folder")
    with pytest.raises(OSError):
        _rename(client, str(tmp_path / "a.part"), str(tmp_path / "folder"))
    assert (tmp_path / "folder").is_dir() and (tmp_path / "a.part").read_text() == "new"
    _rename(client, str(tmp_path / "a.part"), str(tmp_path / "link"))
    assert (tmp_path / "link").read_text() == "new" and not (tmp_path / "link").is_symlink()


def test_what_was_there_stays_if_nothing_can_take_its_place(client: Any, tmp_path: Path) -> None:
    (tmp_path / "a").write_text("old")
    with pytest.raises(OSError):
        _rename(client, str(tmp_path / "no.part"), str(tmp_path / "a"))
    assert (tmp_path / "a").read_text() == "old" and os.listdir(tmp_path) == ["a"]
