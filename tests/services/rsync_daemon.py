"""rsync's own server, on a port of this machine: modules `open`, `locked` by a password, and `unwritable`."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
from pathlib import Path

from tests.eventually import eventually

# As root it would become nobody, who may not enter directories of tests.
_CONFIG = ("uid = 0\ngid = 0\n" if os.getuid() == 0 else "") + """\
use chroot = no
address = {address}
port = {port}
[open]
path = {folder}
read only = no
[locked]
path = {folder}
auth users = me
secrets file = {secrets}
strict modes = no
[unwritable]
path = {folder}
read only = yes
"""


class Daemon:
    """One that is up."""

    def __init__(self, place: Path, address: str = "127.0.0.1") -> None:
        self.address = address
        self.folder = place / "files"
        self.folder.mkdir(parents=True)
        (place / "secrets").write_text("me:open-sesame\n")
        with socket.socket() as free:
            free.bind((address, 0))
            self.port: int = free.getsockname()[1]
        config = place / "config"
        config.write_text(_CONFIG.format(
            address=address, port=self.port, folder=self.folder, secrets=place / "secrets"
        ))  # fmt: skip
        with (place / "log").open("w") as log:
            self._process = subprocess.Popen(
                ["rsync", "--daemon", "--no-detach", f"--config={config}", f"--log-file={place / 'rsyncd.log'}"],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            )  # fmt: skip
        eventually(self._answers)

    def _answers(self) -> bool:
        with contextlib.suppress(OSError), socket.create_connection((self.address, self.port), 5) as connection:
            return connection.recv(8) == b"@RSYNCD:"
        return False

    def url(self, path: str, module: str = "open", user: str = "") -> str:
        return f"rsync://{user}{self.address}:{self.port}/{module}/{path}"

    def stop(self) -> None:
        self._process.terminate()
        self._process.wait(10)
