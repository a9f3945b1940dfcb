"""All servers that keep files, started together, for places that may be on this machine or on hosts in namespaces."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from tests.eventually import eventually
from tests.services import ftp_server, moto_server, nginx, sshd, stores
from tests.services.certificates import Authority
from tests.services.rsync_daemon import Daemon
from tests.services.stores import Store


@dataclass
class Servers:
    """Those that are up, and what opens them.

    Attributes:
        stores: by name; a text says why there is none.
        address: where they listen.
        authority: the certificate by which they can be trusted.
        environment: variables that their clients need.
    """

    address: str
    authority: Path
    stores: dict[str, Store | str] = field(default_factory=dict)
    ssh: sshd.Sshd | None = None
    web: nginx.Nginx | None = None
    environment: dict[str, str] = field(default_factory=dict)

    def connections(self) -> list[str]:
        """Those that somebody has to them. What is kept for the next transfer is given up soon."""
        ports = {each.port for each in self.stores.values() if isinstance(each, Store) and each.port}
        return [
            str(each) for each in psutil.net_connections("tcp")
            if each.laddr and each.laddr.port in ports and each.status not in ("LISTEN", "TIME_WAIT")
        ]  # fmt: skip

    def have_no_connections(self) -> None:
        assert eventually(lambda: not self.connections(), within=20), self.connections()


@contextlib.contextmanager
def running(folder: Path, address: str) -> Iterator[Servers]:
    """All that can be had on this machine, until the block ends."""
    authority = Authority(folder)
    certificate = authority.sign(address)
    servers = Servers(address, authority.file)
    servers.stores["zip"] = stores.of_zip(_made(folder / "zip"))
    with ExitStack() as stack:
        moto = _started_moto(servers, stack, folder)
        _start_web(servers, stack, folder, certificate)
        _start_ftp(servers, stack, folder, certificate)
        _start_ssh_and_rsync(servers, stack, folder)
        if moto is not None:
            try:
                moto.wait()
                servers.stores["s3"], servers.environment = stores.of_moto(moto), moto.environment()
            except (RuntimeError, AssertionError, OSError) as problem:  # too old, too slow: the others do without it
                servers.stores["s3"] = f"moto's server is of no use here: {problem}"
        yield servers


def _started_moto(servers: Servers, stack: ExitStack, folder: Path) -> moto_server.Moto | None:
    if reason := moto_server.why_not():
        servers.stores["s3"] = reason
        return None
    moto = moto_server.Moto(folder / "moto", servers.address)
    stack.callback(moto.stop)
    return moto


def _start_web(servers: Servers, stack: ExitStack, folder: Path, certificate: Path) -> None:
    if reason := nginx.why_not():
        servers.stores.update(dict.fromkeys(("http", "https", "redirects", "password"), reason))
        return
    servers.web = web = nginx.Nginx(folder / "nginx", certificate, servers.address)
    stack.callback(web.stop)
    user = f"{nginx.USER}:{nginx.PASSWORD}@"
    servers.stores["http"] = stores.of_nginx(web, "http")
    servers.stores["https"] = stores.of_nginx(web, "https")
    servers.stores["redirects"] = stores.of_nginx(web, "http", "moved/")
    servers.stores["password"] = stores.of_nginx(web, "https", "private/", user, "private")


def _start_ftp(servers: Servers, stack: ExitStack, folder: Path, certificate: Path) -> None:
    for name, file in ("ftp", ""), ("ftps", str(certificate)):
        if reason := ftp_server.why_not():
            servers.stores[name] = reason
            continue
        server = ftp_server.FtpServer(folder / name, ftp_server.Options(address=servers.address, certificate=file))
        stack.callback(server.stop)
        servers.stores[name] = stores.of_ftp(server)


def _start_ssh_and_rsync(servers: Servers, stack: ExitStack, folder: Path) -> None:
    no_rsync = "" if shutil.which("rsync") else "there is no rsync (Debian: rsync)"
    if sshd.PROGRAM is None:
        servers.stores.update(dict.fromkeys(("sftp", "rsync by ssh"), "there is no sshd (Debian: openssh-server)"))
    else:
        servers.ssh = sshd.Sshd(folder / "sshd", address=servers.address)
        stack.callback(servers.ssh.stop)
        servers.stores["sftp"] = stores.of_sftp(servers.ssh, _made(folder / "by sftp"))
        by_ssh = stores.of_rsync_by_ssh(servers.ssh, _made(folder / "by rsync"))
        servers.stores["rsync by ssh"] = no_rsync or by_ssh
    if no_rsync:
        servers.stores["rsync"] = no_rsync
    else:
        daemon = Daemon(folder / "rsync", servers.address)
        stack.callback(daemon.stop)
        servers.stores["rsync"] = stores.of_rsync(daemon)


def _made(folder: Path) -> Path:
    folder.mkdir()
    return folder
