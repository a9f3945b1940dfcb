"""Files of SSH servers, by SFTP: how a host is reached and known is as in ~/.ssh/config (see `SSHChannel`).

A path is absolute; /~/ at its begin is the home of the login. A download that was cut goes on where it was if the
file's size and date are the same.
"""

from __future__ import annotations

import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from parsl_pool.errors import (
    AuthException,
    BadHostKeyException,
    ChannelError,
    ConfigurationError,
    SSHException,
    described,
)
from parsl_pool.staging.transfers.errand import CLEARLY_OLDER_S, Passing, Refused
from parsl_pool.staging.transfers.file_servers import Download, FileServers
from parsl_pool.staging.transfers.local_files import Source
from parsl_pool.staging.transfers.options import USUAL, Transfer
from parsl_pool.staging.transfers.urls import Url, parsed, shown

_PIECE = 1 << 15  # what every server gives at once
_WINDOW = 1 << 23  # is asked for before it has come: as much as memory is used for


def fetch(url: str, target: Path, options: Transfer = USUAL) -> None:
    """Bring the file of a URL to a path. Raises TransferFailed, ConfigurationError."""
    _SERVERS.fetch(url, target, options)


def send(source: Path, url: str, options: Transfer = USUAL) -> None:
    """Send a file to a URL, whole or not at all. Raises TransferFailed, ConfigurationError."""
    _SERVERS.send(source, url, options)


def _parts(url: str) -> tuple[Url, str]:
    place = parsed(url, "sftp")
    path = place.name.removeprefix("/~/")
    if not path.strip("/"):
        raise ConfigurationError(f"{shown(url)} names no file")
    return place, path


class _Download(Download):
    def go_on(self) -> None:
        """Get what is missing. Raises Passing, Refused; what has come by then stays, if it is of use."""
        with _session(self._place, self._options) as client:
            version = _version(client, self._path)
            text = f"{version[0]} {version[1]}"
            if not self._landing.size and text == self._landing.known:
                self._landing.unchanged()
                return
            if self._landing.size and text != self._landing.version:
                self._landing.restart()
            if not self._landing.size:
                self._landing.began(text, version[0])
            self.is_sure = version[1] + CLEARLY_OLDER_S < time.time()
            with client.open(self._path, "rb") as there:
                while self._landing.size < version[0]:
                    self._take_window(there, version[0])
            if _version(client, self._path) != version:
                raise self._anew()

    def _take_window(self, there: Any, size: int) -> None:
        first = self._landing.size
        last = min(first + _WINDOW, size)
        wanted = [(at, min(_PIECE, last - at)) for at in range(first, last, _PIECE)]
        for (_, length), piece in zip(wanted, there.readv(wanted)):
            if len(piece) != length:
                raise self._anew()
            self._landing.write(piece)

    def _anew(self) -> Passing:
        self._landing.restart()
        return Passing("the file has changed while it was fetched")


def _version(client: Any, path: str) -> tuple[int, int]:
    """Size and date. Servers that tell neither are none that we know of."""
    state = client.stat(path)
    return state.st_size or 0, state.st_mtime or 0


def _put(place: Url, options: Transfer, file: Source, part: str, path: str) -> None:
    with _session(place, options) as client:
        try:
            with client.open(part, "wb") as there:
                there.set_pipelined(True)
                for piece in file.pieces():
                    there.write(piece)
            size = client.stat(part).st_size
            if size != file.size:
                raise Passing(f"{size} of {file.size} bytes are there")
            _rename(client, part, path)
        except BaseException:  # passed on
            with suppress(OSError, EOFError, ChannelError):  # the connection may be what was wrong
                client.remove(part)
            raise


def _rename(client: Any, part: str, path: str) -> None:
    try:
        client.posix_rename(part, path)
    except OSError:  # it is an extension of OpenSSH's; SFTP's own one renames to no name that is taken
        if not _is_file(client, path):
            client.rename(part, path)
            return
        old = f"{part}.old"
        client.rename(path, old)
        try:
            client.rename(part, path)
        except BaseException:  # passed on; what was there is there again
            client.rename(old, path)
            raise
        client.remove(old)


def _is_file(client: Any, path: str) -> bool:
    try:
        return not stat.S_ISDIR(client.lstat(path).st_mode or 0)
    except OSError:  # there is none
        return False


_SERVERS = FileServers(_parts, _Download, _put)


@contextmanager
def _session(place: Url, options: Transfer) -> Iterator[Any]:
    """A session for files (paramiko's SFTPClient). What goes wrong in the block is Passing or Refused."""
    from parsl_pool.providers.channels.ssh import SSHChannel  # late: paramiko is heavy, and few need it

    channel = SSHChannel(
        place.host, place.user, place.password, port=place.port, config_filename=options.ssh_config,
        connect_timeout=options.connect_timeout,
    )  # fmt: skip
    try:
        with channel.sftp(options.silence) as client:
            yield client
    except (AuthException, BadHostKeyException) as problem:
        raise Refused(str(problem)) from None
    except SSHException as problem:
        raise Passing(str(problem)) from None
    except ChannelError as problem:
        raise Refused(str(problem)) from None
    except UnicodeError as problem:
        raise Refused(f"{place.host} can be no name of a host: {problem}") from None
    except OSError as problem:
        raise Refused(f"the server says: {problem.strerror or described(problem)}") from None
    finally:
        channel.close()
