"""A real sshd on a port of this machine's loopback, with keys of its own, as any user may run one."""

from __future__ import annotations

import contextlib
import getpass
import os
import shutil
import socket
import subprocess
from pathlib import Path

import psutil
import pytest

from tests.eventually import eventually

PROGRAM = next((path for path in ("/usr/sbin/sshd", "/usr/local/sbin/sshd") if os.access(path, os.X_OK)), None)

needs_sshd = pytest.mark.skipif(
    PROGRAM is None or shutil.which("ssh-keygen") is None,
    reason="there is no sshd on this machine (Debian: openssh-server)",
)

_CONFIG = """\
ListenAddress {address}:{port}
HostKey {host_key}
PidFile none
AuthorizedKeysFile {folder}/authorized_keys
StrictModes no
UsePAM no
PermitRootLogin yes
PrintMotd no
PrintLastLog no
UseDNS no
MaxStartups 100:30:200
LogLevel VERBOSE
SetEnv HOME={home}
Subsystem sftp internal-sftp
"""


def make_key(path: Path, passphrase: str = "", kind: str = "ed25519") -> Path:
    subprocess.run(["ssh-keygen", "-q", "-t", kind, "-N", passphrase, "-f", path], check=True, stdin=subprocess.DEVNULL)
    return path


def public(key: Path) -> str:
    return key.with_name(f"{key.name}.pub").read_text()


class Sshd:
    """One that is up. `config` is an OpenSSH configuration in which its name is "here"."""

    def __init__(self, folder: Path, more: str = "", address: str = "127.0.0.1") -> None:
        folder.mkdir(mode=0o700, exist_ok=True)
        self.address = address
        self.home = folder / "home"  # start-up files of the user's own shell are not what is tested
        self.home.mkdir()
        self.folder, self._more = folder, more
        self.key = make_key(folder / "id")
        self.locked_key = make_key(folder / "id_locked", "phrase")
        self.host_key = make_key(folder / "host_key")
        (folder / "authorized_keys").write_text(public(self.key) + public(self.locked_key))
        with socket.socket() as free:
            free.bind((address, 0))
            self.port: int = free.getsockname()[1]
        self.known_hosts = folder / "known_hosts"
        self.known_hosts.write_text(f"[{address}]:{self.port} {' '.join(public(self.host_key).split()[:2])}\n")
        self.config = folder / "client"
        self.config.write_text(
            f"Host here\n  HostName {address}\n  Port {self.port}\n  User {getpass.getuser()}\n"
            f"Host *\n  IdentityFile {self.key}\n  IdentitiesOnly yes\n  UserKnownHostsFile {self.known_hosts}\n"
            f"  GlobalKnownHostsFile none\n"
        )
        self._process: psutil.Popen | None = None
        self.start()

    def start(self) -> None:
        if os.getuid() == 0:
            Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)  # sshd insists on it
        text = _CONFIG.format(
            address=self.address, port=self.port, folder=self.folder, host_key=self.host_key, home=self.home
        ) + self._more  # fmt: skip
        (self.folder / "sshd_config").write_text(text)
        with (self.folder / "log").open("a") as log:
            self._process = psutil.Popen(
                [str(PROGRAM), "-D", "-e", "-f", self.folder / "sshd_config"], stdin=subprocess.DEVNULL, stdout=log,
                stderr=log, start_new_session=True,
            )  # fmt: skip
        eventually(self._answers)

    def _answers(self) -> bool:
        with contextlib.suppress(OSError), socket.create_connection((self.address, self.port), 5) as sock:
            return sock.recv(4) == b"SSH-"
        return False

    def sessions(self) -> list[psutil.Process]:
        """The processes that serve connections."""
        assert self._process is not None
        return [child for child in self._process.children(recursive=True) if child.name().startswith("sshd")]

    def cut(self) -> None:
        """End all connections. New ones can be made at once."""
        for process in self.sessions():
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()

    def new_host_key(self) -> None:
        """Another key from the next connection on, as if somebody stood between."""
        self.stop()
        self.host_key = make_key(self.folder / f"host_key.{os.urandom(2).hex()}")
        self.start()

    def stop(self) -> None:
        if self._process is None:
            return
        family = [*self._process.children(recursive=True), self._process]
        for process in family:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        self._process.wait(10)
        self._process = None
