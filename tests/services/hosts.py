"""Hosts on this machine, each with a network address, processes, a home and a temporary directory of its own.

They are namespaces of the kernel: it takes root, and `ip` and `unshare`. Each runs a real sshd. A bridge joins them
with this machine; nothing is routed further. A user "guest" logs in by password: the hosts have their own /etc/passwd.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

import psutil

from tests.eventually import eventually
from tests.services.sshd import PROGRAM, make_key, public

NAMES = ("one", "two", "three")
PASSWORD = "guest-pass"
_NETWORKS = range(31, 64)  # several sessions of tests may have some: each takes a network that nobody has

_CONFIG = """\
ListenAddress {address}:22
HostKey /run/host/host_key
PidFile none
AuthorizedKeysFile /run/host/authorized_keys
StrictModes no
UsePAM no
PermitRootLogin prohibit-password
PasswordAuthentication yes
PrintMotd no
PrintLastLog no
UseDNS no
MaxStartups 100:30:200
LogLevel VERBOSE
Match User root
    SetEnv HOME=/run/host/root
Match all
Subsystem sftp internal-sftp
"""

# The directory of the tests' files, where runs have theirs, is empty there. The home is set: root's may have Python.
_INIT = """\
set -e
hostname {name}
mount -t tmpfs tmpfs /run; mkdir -m 755 /run/sshd /run/host
mount --bind {folder} /run/host
mkdir -p /run/host/root /run/host/guest; chown 4711:4711 /run/host/guest; chmod 755 {folder}
mount -t tmpfs -o mode=1777 tmpfs /dev/shm
grep -v '^guest:' /etc/passwd >/run/passwd; echo 'guest:x:4711:4711::/run/host/guest:/bin/sh' >>/run/passwd
grep -v '^guest:' /etc/shadow >/run/shadow; echo 'guest:{hash}:19000:0:99999:7:::' >>/run/shadow; chmod 600 /run/shadow
mount --bind /run/passwd /etc/passwd; mount --bind /run/shadow /etc/shadow
mount -t tmpfs -o mode=1777 tmpfs {hidden}
exec {sshd} -D -e -f /run/host/sshd_config
"""


def why_not() -> str:
    """Why there can be none; "" if there can."""
    if os.getuid() != 0:
        return "namespaced hosts need root"
    if PROGRAM is None:
        return "there is no sshd on this machine (Debian: openssh-server)"
    missing = [name for name in ("ip", "unshare", "nsenter", "openssl") if shutil.which(name) is None]
    if missing:
        return f"namespaced hosts need {', '.join(missing)}"
    probe = f"ppt{os.getpid()}"
    made = subprocess.run(["ip", "link", "add", probe, "type", "bridge"], capture_output=True, text=True)
    if made.returncode:
        return f"this kernel or container lets nobody make networks: {made.stderr.strip()}"
    _ip("link", "del", probe)
    return ""


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True, text=True)


class Network:
    """A bridge of this machine, which has an address in its network.

    Attributes:
        us: that address.
    """

    def __init__(self) -> None:
        for self.number in _NETWORKS:
            self.bridge, self.us = f"ppssh{self.number}br", self.address(1)
            # Who has made it has the network.
            made = subprocess.run(["ip", "link", "add", self.bridge, "type", "bridge"], capture_output=True, text=True)
            if not made.returncode:
                return
        raise RuntimeError(f"no network is free: {made.stderr}")

    def address(self, number: int) -> str:
        return f"10.79.{self.number}.{number}"

    def begin(self) -> None:
        _ip("addr", "add", f"{self.us}/24", "dev", self.bridge)
        _ip("link", "set", self.bridge, "up")

    def remove(self) -> None:
        _ip("link", "del", self.bridge)


class Host:
    """One of them."""

    def __init__(self, name: str, net: Network, number: int, folder: Path, key: Path, hidden: Path) -> None:
        self.name, self.folder = name, folder
        self._net = net
        self.address = net.address(10 + number)
        self._space, self._veth = f"ppssh{net.number}-{name}", f"ppssh{net.number}v{number}"
        folder.mkdir()
        self.home = folder / "root"
        self.host_key = make_key(folder / "host_key")
        (folder / "authorized_keys").write_text(public(key))
        (folder / "sshd_config").write_text(_CONFIG.format(address=self.address))
        hashed = subprocess.check_output(["openssl", "passwd", "-6", PASSWORD], text=True).strip()
        (folder / "init").write_text(_INIT.format(
            name=name, folder=folder, hash=hashed, sshd=PROGRAM, hidden=hidden,
        ))  # fmt: skip
        _ip("netns", "add", self._space)
        _ip("link", "add", self._veth, "type", "veth", "peer", "name", "eth0", "netns", self._space)
        _ip("link", "set", self._veth, "master", net.bridge)
        _ip("link", "set", self._veth, "up")
        _ip("-n", self._space, "link", "set", "lo", "up")
        _ip("-n", self._space, "addr", "add", f"{self.address}/24", "dev", "eth0")
        _ip("-n", self._space, "link", "set", "eth0", "up")
        self._process: psutil.Popen | None = None
        self.boot()

    def boot(self) -> None:
        """Switch it on."""
        with (self.folder / "log").open("a") as log:
            self._process = psutil.Popen(
                ["nsenter", f"--net=/run/netns/{self._space}", "unshare", "--pid", "--fork", "--kill-child",
                 "--mount-proc", "--uts", "--ipc", "--mount", "--propagation", "private", "/bin/sh",
                 str(self.folder / "init")],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip
        eventually(lambda: "Server listening" in (self.folder / "log").read_text())

    def processes(self) -> list[psutil.Process]:
        """All on it but sshd's own."""
        assert self._process is not None
        found = []
        for child in self._process.children(recursive=True):
            with contextlib.suppress(psutil.NoSuchProcess):
                if not child.name().startswith(("sshd", "unshare", "nsenter")):
                    found.append(child)
        return found

    def cut(self) -> None:
        """Pull the cable."""
        _ip("link", "set", self._veth, "down")

    def swallow(self) -> None:
        """From now on all that is sent, both ways, disappears, and nobody is told."""
        ask = ["ip", "netns", "exec", self._space, "cat", "/sys/class/net/eth0/address"]
        mac = subprocess.check_output(ask, text=True)
        _ip("neigh", "replace", self.address, "dev", self._net.bridge, "nud", "permanent", "lladdr", mac.strip())
        ours = Path(f"/sys/class/net/{self._net.bridge}/address").read_text().strip()
        _ip("-n", self._space, "neigh", "replace", self._net.us, "dev", "eth0", "nud", "permanent", "lladdr", ours)
        _ip("link", "add", f"{self._veth}x", "type", "bridge")  # which is down
        _ip("link", "set", self._veth, "master", f"{self._veth}x")

    def restore(self) -> None:
        """Undo both."""
        with contextlib.suppress(subprocess.CalledProcessError):
            _ip("link", "set", self._veth, "master", self._net.bridge)
            _ip("link", "del", f"{self._veth}x")
        _ip("link", "set", self._veth, "up")

    def power_off(self) -> None:
        if self._process is not None:
            family = [*self._process.children(recursive=True), self._process]
            for process in family:
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.kill()
            self._process.wait(10)
            self._process = None

    def remove(self) -> None:
        self.power_off()
        for command in (
            ["link", "del", f"{self._veth}x"], ["link", "del", self._veth], ["netns", "del", self._space],
        ):  # fmt: skip
            with contextlib.suppress(subprocess.CalledProcessError):
                _ip(*command)


class Hosts:
    """All of them. `config` is an OpenSSH configuration in which they have their names; `us` is our address there."""

    def __init__(self, folder: Path, hidden: Path, names: Sequence[str] = NAMES) -> None:
        self.folder = folder
        self.key = make_key(folder / "id")
        self._net = Network()
        self.us = self._net.us
        self.hosts: dict[str, Host] = {}
        try:
            self._net.begin()
            for number, name in enumerate(names, 1):
                self.hosts[name] = Host(name, self._net, number, folder / name, self.key, hidden)
        except BaseException:  # passed on
            self.remove()
            raise
        self.known_hosts = folder / "known_hosts"
        self.config = folder / "client"
        self.known_hosts.write_text("".join(
            f"{host.address} {' '.join(public(host.host_key).split()[:2])}\n" for host in self.hosts.values()
        ))  # fmt: skip
        self.config.write_text("".join(f"Host {host.name}\n  HostName {host.address}\n" for host in self.hosts.values())
                               + f"Host *\n  User root\n  IdentityFile {self.key}\n  IdentitiesOnly yes\n"
                               f"  UserKnownHostsFile {self.known_hosts}\n  GlobalKnownHostsFile none\n")  # fmt: skip

    def remove(self) -> None:
        for host in self.hosts.values():
            host.remove()
        self._net.remove()
