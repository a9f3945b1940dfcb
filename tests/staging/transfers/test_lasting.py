"""What a fetch leaves for the next one, by each protocol: asked for again, gone on with, and never written by two."""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from parsl_pool.staging.transfers import by_scheme, lasting, rsync
from tests.eventually import eventually
from tests.services.ftp_server import FtpServer, Options
from tests.staging.transfers.conftest import QUICK

pytestmark = pytest.mark.timeout(60)

ROOT = Path(__file__).parents[3]
BODY = bytes(range(256)) * 8000
LONG_AGO = 1_500_000_000


@pytest.fixture
def kept(folder: Path) -> Path:
    """Where one fetch at a time brings a file to."""
    (folder / lasting.MARK).touch()
    return folder / "data.bin"


@pytest.fixture
def ftp(tmp_path: Path) -> Iterator[FtpServer]:
    pytest.importorskip("pyftpdlib", reason="no pyftpdlib: nothing of FTP is tested (it is in the extra 'test')")
    server = FtpServer(tmp_path / "ftp", Options())
    (server.folder / "data").write_bytes(BODY)
    yield server
    server.stop()


def left(kept: Path) -> set[str]:
    return {path.name for path in kept.parent.iterdir()} - {lasting.MARK, kept.name}


def test_a_file_of_an_ftp_server_that_is_still_the_same_is_left_as_it_is(ftp: FtpServer, kept: Path) -> None:
    there = ftp.folder / "data"
    os.utime(there, (LONG_AGO, LONG_AGO))
    by_scheme.fetch(ftp.url("data"), kept, QUICK)
    first = kept.stat().st_ino
    with open(kept, "rb"):  # its number is nobody else's meanwhile
        by_scheme.fetch(ftp.url("data"), kept, QUICK)
        assert kept.stat().st_ino == first
        os.utime(there, (LONG_AGO + 1, LONG_AGO + 1))
        by_scheme.fetch(ftp.url("data"), kept, QUICK)
        assert kept.stat().st_ino != first and kept.read_bytes() == BODY
    assert left(kept) == set()


def test_a_file_that_has_just_been_changed_may_be_changed_again_in_the_same_second(ftp: FtpServer, kept: Path) -> None:
    by_scheme.fetch(ftp.url("data"), kept, QUICK)
    assert not lasting.version_of(kept) and left(kept) == set()


FETCH = """
import sys
from pathlib import Path
from parsl_pool.staging.transfers.by_scheme import fetch
from parsl_pool.staging.transfers.options import Transfer
from parsl_pool.staging.transfers import rsync

url, target = sys.argv[1:]
(rsync.fetch if url.startswith("here:") else fetch)(url, Path(target), Transfer(pause=0.001, retries=0))
"""

# What rsync takes for ssh: runs the other side here, when it is let go.
SLOW_SHELL = """#!/bin/sh
folder=$(dirname "$0")
touch "$folder/began"
while [ ! -e "$folder/go" ]; do sleep 0.02; done
shift
exec "$@"
"""


@pytest.mark.skipif(shutil.which("rsync") is None, reason="there is no rsync on this machine (Debian: rsync)")
def test_an_rsync_that_outlives_its_process_has_its_part_alone(
    kept: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    there, shells = tmp_path / "there", {name: tmp_path / name / "shell" for name in ("slow", "fast")}
    there.write_bytes(BODY)
    for shell in shells.values():
        shell.parent.mkdir()
        shell.write_text(SLOW_SHELL)
        shell.chmod(0o700)
    (tmp_path / "fast" / "go").touch()
    monkeypatch.setenv("RSYNC_RSH", str(shells["slow"]))
    first = subprocess.Popen(
        [sys.executable, "-c", FETCH, f"here:{there}", str(kept)], cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    eventually((tmp_path / "slow" / "began").exists, within=30)
    first.send_signal(signal.SIGKILL)
    first.wait()
    monkeypatch.setenv("RSYNC_RSH", str(shells["fast"]))
    rsync.fetch(f"here:{there}", kept, QUICK)
    assert kept.read_bytes() == BODY and left(kept) == {lasting.PART}
    (tmp_path / "slow" / "go").touch()
    with open(kept.with_name(lasting.PART), "rb") as part:
        eventually(lambda: lasting.is_mine(part.fileno()), within=30)
    rsync.fetch(f"here:{there}", kept, QUICK)  # with what the first one has brought, as far as it is good
    assert kept.read_bytes() == BODY and left(kept) == set()
