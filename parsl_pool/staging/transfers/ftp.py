"""Files of FTP servers: ftp, and ftps, which is FTP over TLS.

ftps at port 990, which is where it is if the URL names none, is TLS from the first byte; at other ports it is asked
for (AUTH TLS). Both the commands and the data are encrypted then. A path begins at the login's directory; %2F at its
begin makes it absolute. Without a user it is "anonymous".
"""

from __future__ import annotations

import calendar
import ftplib
import re
import socket
import ssl
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple, cast

from parsl_pool.errors import ConfigurationError, described
from parsl_pool.staging.transfers.errand import CLEARLY_OLDER_S, Pace, Passing, Refused
from parsl_pool.staging.transfers.file_servers import Download, FileServers
from parsl_pool.staging.transfers.local_files import PIECE, Source
from parsl_pool.staging.transfers.options import USUAL, Transfer
from parsl_pool.staging.transfers.urls import Url, parsed, shown
from parsl_pool.staging.transfers.web_connections import tls_context

_TLS_FROM_THE_START = 990
_FAREWELL_S = 5.0


def fetch(url: str, target: Path, options: Transfer = USUAL) -> None:
    """Bring the file of a URL to a path. Raises TransferFailed, ConfigurationError."""
    _SERVERS.fetch(url, target, options)


def send(source: Path, url: str, options: Transfer = USUAL) -> None:
    """Send a file to a URL, whole or not at all. Raises TransferFailed, ConfigurationError."""
    _SERVERS.send(source, url, options)


def _parts(url: str) -> tuple[Url, str]:
    place = parsed(url, "ftp", "ftps")
    path = place.name.removeprefix("/")
    if not path or "\r" in path or "\n" in path:
        raise ConfigurationError(f"{shown(url)} names no file of an FTP server")
    return place, path


class _Version(NamedTuple):
    """What there is to tell one version of a file from another."""

    size: int | None
    changed: str

    @property
    def is_known(self) -> bool:
        return self.size is not None and self.changed != ""

    @property
    def text(self) -> str:
        return f"{self.size} {self.changed}" if self.is_known else ""

    @property
    def is_old(self) -> bool:
        """Whether a date of whole seconds tells it from all later ones. RFC 3659, 2.3: these are UTC."""
        changed = re.match(r"213 (\d{14})", self.changed)
        if changed is None:
            return False
        try:
            moment = calendar.timegm(time.strptime(changed[1], "%Y%m%d%H%M%S"))
        except ValueError:
            return False
        return moment + CLEARLY_OLDER_S < time.time()


class _Download(Download):
    def go_on(self) -> None:
        """Get what is missing. Raises Passing, Refused; what has come by then stays, if it is of use."""
        with _session(self._place, self._options) as ftp:
            version = _version(ftp, self._path)
            if not self._landing.size and version.is_known and version.text == self._landing.known:
                self._landing.unchanged()
                return
            if self._landing.size and not (version.is_known and version.text == self._landing.version):
                self._landing.restart()
            if not self._landing.size:
                self._landing.began(version.text, version.size)
            self.is_sure = version.is_old
            if not self._landing.size or self._landing.size != version.size:
                self._take(ftp)
            if version.is_known and _version(ftp, self._path) != version:
                self._landing.restart()
                raise Passing("the file has changed while it was fetched")
            if version.size is not None and version.size != self._landing.size:
                came = self._landing.size
                if came > version.size:
                    self._landing.restart()
                raise Passing(f"{came} bytes came, and the server says that it has {version.size}")

    def _take(self, ftp: ftplib.FTP) -> None:
        pace = Pace(self._options.silence)
        with _data(self._begun(ftp), self._options) as connection:
            while piece := connection.recv(PIECE):
                self._landing.write(piece)
                pace.came(len(piece))
        ftp.voidresp()

    def _begun(self, ftp: ftplib.FTP) -> socket.socket:
        command = f"RETR {self._path}"
        if self._landing.size:
            try:
                return ftp.transfercmd(command, rest=self._landing.size)
            except ftplib.error_perm:  # it can't begin in the middle; else the next line says the same
                version = self._landing.version
                self._landing.restart()
                self._landing.began(version, None)
        return ftp.transfercmd(command)


def _version(ftp: ftplib.FTP, path: str) -> _Version:
    size, changed = None, ""
    with suppress(ftplib.error_perm):  # not every server tells; and of no file, the next command says so
        size = ftp.size(path)
    with suppress(ftplib.error_perm):
        changed = ftp.sendcmd(f"MDTM {path}")
    return _Version(size, changed)


def _put(place: Url, options: Transfer, file: Source, part: str, path: str) -> None:
    with _session(place, options) as ftp:
        try:
            with _data(ftp.transfercmd(f"STOR {part}"), options) as connection:
                for piece in file.pieces():
                    connection.sendall(piece)
            ftp.voidresp()
            there = _version(ftp, part).size
            if there not in (None, file.size):
                raise Passing(f"{there} of {file.size} bytes are there")
            ftp.rename(part, path)
        except BaseException:  # passed on
            _remove(ftp, part, options)
            raise


def _remove(ftp: ftplib.FTP, part: str, options: Transfer) -> None:
    """What is left there of a file that could not be sent, as far as the server still listens."""
    with suppress(*ftplib.all_errors):
        if ftp.sock is not None:
            ftp.sock.settimeout(min(_FAREWELL_S, options.silence))
        # The answer to STOR may come first; nobody looks at what this one says.
        ftp.delete(part)


# ---- connections


class _Tls(ftplib.FTP_TLS):
    """FTP over TLS; each data connection continues the session of the commands', as many servers want it to be."""

    def ntransfercmd(self, cmd: str, rest: int | str | None = None) -> tuple[socket.socket, int | None]:
        connection, size = ftplib.FTP.ntransfercmd(self, cmd, rest)
        session = cast(ssl.SSLSocket, self.sock).session
        try:
            return self.context.wrap_socket(connection, server_hostname=self.host, session=session), size
        except BaseException:  # passed on
            connection.close()
            raise


class _TlsFromTheStart(_Tls):
    def connect(self, host: str = "", port: int = 0, timeout: float = 0, source_address: Any = None) -> str:
        self.host, self.port = host, port
        self.sock = self.context.wrap_socket(
            socket.create_connection((host, port), timeout or self.timeout), server_hostname=host
        )
        self.af = self.sock.family
        self.file = self.sock.makefile("r", encoding=self.encoding)
        self.welcome = self.getresp()
        return self.welcome


_SERVERS = FileServers(_parts, _Download, _put)


@contextmanager
def _session(place: Url, options: Transfer) -> Iterator[ftplib.FTP]:
    """A connection that is logged in. What goes wrong in the block is Passing or Refused, as the server says it."""
    ftp = _unconnected(place, options)
    try:
        _log_in(ftp, place, options)
        yield ftp
        with suppress(*ftplib.all_errors):
            ftp.quit()
    except (ssl.SSLCertVerificationError, ftplib.error_perm, UnicodeError) as problem:
        raise Refused(_told(problem)) from None
    except ftplib.all_errors as problem:
        raise Passing(_told(problem)) from None
    finally:
        ftp.close()


def _unconnected(place: Url, options: Transfer) -> ftplib.FTP:
    if place.scheme == "ftp":
        return ftplib.FTP(timeout=options.connect_timeout, encoding="utf-8")
    port = place.port or _TLS_FROM_THE_START
    kind = _TlsFromTheStart if port == _TLS_FROM_THE_START else _Tls
    return kind(timeout=options.connect_timeout, context=tls_context(options), encoding="utf-8")


def _log_in(ftp: ftplib.FTP, place: Url, options: Transfer) -> None:
    default = ftplib.FTP_PORT if place.scheme == "ftp" else _TLS_FROM_THE_START
    try:
        ftp.connect(place.host, place.port or default)
        if isinstance(ftp, _Tls) and not isinstance(ftp, _TlsFromTheStart):
            ftp.auth()
    except ssl.SSLCertVerificationError:
        raise
    except OSError as problem:
        raise Passing(f"cannot connect to {place.host}:{place.port or default}: {_told(problem)}") from None
    if ftp.sock is not None:
        ftp.sock.settimeout(options.silence)
    ftp.timeout = options.silence
    ftp.login(place.user or "", place.password or "")
    if isinstance(ftp, ftplib.FTP_TLS):
        ftp.prot_p()
    ftp.voidcmd("TYPE I")


@contextmanager
def _data(connection: socket.socket, options: Transfer) -> Iterator[socket.socket]:
    """A connection for a file's bytes, which ends with the block; its end is the end of the file."""
    with connection:
        connection.settimeout(options.silence)
        yield connection
        if isinstance(connection, ssl.SSLSocket):
            with suppress(OSError):  # the other side may have ended it first; sizes are compared anyway
                connection.unwrap()


def _told(problem: BaseException) -> str:
    if isinstance(problem, (ftplib.error_perm, ftplib.error_temp, ftplib.error_reply, ftplib.error_proto)):
        return f"the server says: {problem}"
    if isinstance(problem, ssl.SSLCertVerificationError):
        return (f"its certificate is not valid: {problem.verify_message}; if its authority is to be trusted, give its "
                "certificate as ca_file=")  # fmt: skip
    if isinstance(problem, TimeoutError):
        return "it does not answer in time"
    if isinstance(problem, EOFError):
        return "the connection was cut"
    if isinstance(problem, OSError) and problem.strerror:
        return problem.strerror
    return described(problem)
