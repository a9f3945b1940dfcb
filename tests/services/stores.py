"""Where files can be brought from and to: real servers, each with what a test has to know of it."""

from __future__ import annotations

import hashlib
import shutil
import time
import urllib.error
import urllib.request
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote
from xml.etree import ElementTree

from parsl_pool.staging import (
    FTPInTaskStaging,
    FTPSeparateTaskStaging,
    HTTPInTaskStaging,
    HTTPSeparateTaskStaging,
    InTask,
    NoOpFileStaging,
    Protocol,
    RSyncStaging,
    S3InTaskStaging,
    S3SeparateTaskStaging,
    SeparateTask,
    SFTPInTaskStaging,
    SFTPSeparateTaskStaging,
    Staging,
    Transfer,
    ZipFileStaging,
)
from parsl_pool.staging.transfers import by_scheme
from parsl_pool.staging.transfers.urls import Url
from tests.services import ftp_server
from tests.services.ftp_server import FtpServer
from tests.services.moto_server import Moto
from tests.services.nginx import Nginx
from tests.services.rsync_daemon import Daemon
from tests.services.sshd import Sshd


class RSyncServerInTask(InTask):
    """Files of rsync's own servers, `rsync:`; made of what there is, as users may."""

    protocol = Protocol(("rsync",), by_scheme.fetch, by_scheme.send)

    def __init__(self, options: Transfer) -> None:
        super().__init__()
        self.options = options


class RSyncServerByTask(SeparateTask):
    """The same by tasks of their own."""

    protocol = RSyncServerInTask.protocol

    def __init__(self, options: Transfer) -> None:
        self.options = options


def in_task(options: Transfer) -> list[Staging]:
    """What brings files in the task: for nodes that share no files."""
    return [
        HTTPInTaskStaging(options), FTPInTaskStaging(options), SFTPInTaskStaging(options), RSyncServerInTask(options),
        RSyncStaging("here", options), S3InTaskStaging(options),
    ]  # fmt: skip


def by_tasks(options: Transfer) -> list[Staging]:
    """What brings files by tasks of their own, and what leaves them where they are."""
    return [
        HTTPSeparateTaskStaging(options), FTPSeparateTaskStaging(options), SFTPSeparateTaskStaging(options),
        RSyncServerByTask(options), S3SeparateTaskStaging(options), ZipFileStaging(), NoOpFileStaging(),
    ]  # fmt: skip


@dataclass
class Store:
    """One of them.

    Attributes:
        url: gives the URL of a path there.
        folder: where the server has its files.
        missing: the server's words for a file that is not there.
        locked: a URL at which nothing can be written; "": there is none.
        refusal: the server's words for that.
        port: of the server; 0: there is none.
    """

    url: Callable[[str], str]
    folder: Path
    missing: str
    locked: str
    refusal: str
    port: int = 0

    def put(self, name: str, body: bytes) -> None:
        path = self.folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(body)

    def get(self, name: str) -> bytes:
        return (self.folder / name).read_bytes()

    def names(self) -> list[str]:
        """Of all files that are there."""
        return sorted(str(path.relative_to(self.folder)) for path in self.folder.rglob("*") if path.is_file())

    def clear(self) -> None:
        for path in self.folder.iterdir():
            shutil.rmtree(path) if path.is_dir() else path.unlink()


class ZipStore(Store):
    """A zip file in the folder."""

    def put(self, name: str, body: bytes) -> None:
        with zipfile.ZipFile(self.folder / "all.zip", "a") as archive:
            archive.writestr(name, body)

    def get(self, name: str) -> bytes:
        with zipfile.ZipFile(self.folder / "all.zip") as archive:
            return archive.read(name)

    def names(self) -> list[str]:
        with zipfile.ZipFile(self.folder / "all.zip") as archive:
            return sorted(set(archive.namelist()))


class S3Store(Store):
    """A bucket of moto's server, which shows nobody its files."""

    server: Moto

    def ask(self, method: str, path: str = "", body: bytes = b"") -> bytes:
        """Signed as transfers are; the server verifies that."""
        server = self.server
        place = Url("http", server.address, server.port, None, None, f"/bucket/{quote(path, safe='/-_.~')}", "")
        now = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
        headers = server.account.signed(method, place, hashlib.sha256(body).hexdigest(), now, {})
        headers["Content-Type"] = "application/octet-stream"
        request = urllib.request.Request(f"{server.endpoint}{place.path}", body or None, headers, method=method)
        with urllib.request.urlopen(request, timeout=30) as answer:
            found: bytes = answer.read()
            return found

    def put(self, name: str, body: bytes) -> None:
        self.ask("PUT", name, body)

    def get(self, name: str) -> bytes:
        return self.ask("GET", name)

    def names(self) -> list[str]:
        found = ElementTree.fromstring(self.ask("GET"))
        return sorted(key.text or "" for key in found.iter("{http://s3.amazonaws.com/doc/2006-03-01/}Key"))

    def clear(self) -> None:
        for name in self.names():
            self.ask("DELETE", name)


def of_nginx(server: Nginx, scheme: str, below: str = "", user: str = "", folder: str = "") -> Store:
    place = server.folder / folder
    place.mkdir(exist_ok=True)

    def url(path: str) -> str:
        return server.url(f"{below}{quote(path)}", scheme, user)

    port = server.tls_port if scheme == "https" else server.port
    return Store(url, place, "HTTP 404 Not Found", server.url("locked/x", scheme), "HTTP 403 Forbidden", port)


def of_ftp(server: FtpServer) -> Store:
    def url(path: str) -> str:
        return server.url(path.replace("%", "%25"), f"{ftp_server.USER}:{ftp_server.PASSWORD}@")

    return Store(url, server.folder, "550 ", url("no/x"), "550 No such file or directory", server.port)


def of_sftp(server: Sshd, folder: Path) -> Store:
    def url(path: str) -> str:
        return f"sftp://here{folder}/{path.replace('%', '%25')}"

    return Store(url, folder, "No such file", url("no/x"), "No such file", server.port)


def of_rsync_by_ssh(server: Sshd, folder: Path) -> Store:
    def url(path: str) -> str:
        return str(folder / path)

    return Store(url, folder, "No such file or directory", url("no/x"), "No such file", server.port)


def of_rsync(server: Daemon) -> Store:
    def url(path: str) -> str:
        return server.url(path.replace("%", "%25"))

    locked = server.url("x", "unwritable")
    return Store(url, server.folder, "No such file or directory", locked, "module is read only", server.port)


def of_zip(folder: Path) -> Store:
    locked = f"zip:{folder}/no/all.zip/x"
    return ZipStore(lambda path: f"zip:{folder}/all.zip/{path}", folder, "there is no such member", locked,
                    "No such file or directory")  # fmt: skip


def of_moto(server: Moto) -> Store:
    """Raises RuntimeError: it is too old."""
    store = S3Store(lambda path: f"s3://bucket/{path}", server.folder, "NoSuchKey", "s3://no-bucket/x", "NoSuchBucket",
                    server.port)  # fmt: skip
    store.server = server
    store.ask("PUT")
    try:
        store.put("%", b"")
    except urllib.error.HTTPError as problem:
        raise RuntimeError(
            f"this moto_server can't verify signatures of names with %; 5.2.5 can, 5.2.1 not ({problem})"
        ) from None
    store.clear()
    return store
