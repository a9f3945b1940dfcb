"""Where the managers of one executor meet their interchange: a unix socket if all of them are on this host, or a port.

The socket lies in a directory that only this user can enter, so nobody else gets as far as to connect. A port can be
reached by every user of this host, at least; CURVE turns them away there, which costs something each time. where.py
has what the user may say of it.
"""

from __future__ import annotations

import os
import socket
import tempfile
from collections.abc import Iterator
from contextlib import suppress

from parsl_pool.errors import ConfigurationError
from parsl_pool.executors.high_throughput.listening import USUAL_PORTS, connect, endpoints, listening
from parsl_pool.executors.high_throughput.where import Where
from parsl_pool.interchange.reach import joined, split
from parsl_pool.loggers import careful_logger
from parsl_pool.run_directory import RunDirectory

log = careful_logger("parsl_pool.interchange")

_NAME = "managers"
_IPC = "ipc://"
_SHORT = "/tmp"  # POSIX has it; the usual place for what is temporary may have a long name


class MeetingPlace:
    """Its methods are called by the thread that has the executor's blocks, in the order of a life."""

    def __init__(self, directory: RunDirectory, where: Where, is_local: bool, is_elsewhere: bool) -> None:
        """Find one.

        Args:
            directory: the run's own.
            where: what the user has said of it.
            is_local: all managers will be on this host.
            is_elsewhere: they are expected to be on others. If both are False nobody knows.

        Raises:
            OSError: nobody could connect there; managers would try for ever.
        """
        self._extra: RunDirectory | None = None  # only for the socket
        self._path = ""  # of the socket
        self._bound = ""  # where the interchange really listens
        self._offered: list[str] = []  # hosts
        if is_local and where.address is None and where.ports is None:
            self._path = self._free_path(directory, where.loopback)
        if self._path:
            self._choices = [_IPC + self._path]
        else:
            found = listening(where, is_elsewhere)
            self._offered = found.offered
            ports = USUAL_PORTS if where.ports is None and is_elsewhere else where.ports
            self._choices = endpoints(found.hosts, ports)

    def _free_path(self, directory: RunDirectory, loopback: str) -> str:
        """A path that a socket can have, in a directory of ours; "" if there is none."""
        problem: Exception | None = None
        for place in _directories(directory):
            path = os.path.join(place.path, place.own_name(_NAME))
            problem = _why_not(path)
            if problem is None:
                self._extra = None if place is directory else place
                return path
            if place is not directory:
                place.close()
        log.warning(
            "managers connect to a port of %s, which every user of this host can reach, though only they are let in: "
            "a unix socket can't be made (%s)", loopback, problem,
        )  # fmt: skip
        return ""

    def choices(self) -> list[str]:
        """Where the interchange is to listen: the first of them that is free. Managers come back to the last one."""
        return [self._bound, *self._choices] if self._bound else self._choices

    def settled(self, bound: str) -> None:
        """It listens there."""
        self._bound = bound

    @property
    def port(self) -> int:
        """That it listens at."""
        return split(self._bound.split()[0])[1]

    def addresses(self) -> list[str]:
        """Where managers are to connect: to any of these."""
        if self._path or not self._offered:
            return [self._bound]
        return [joined(host, self.port) for host in self._offered]

    def left_behind(self) -> list[str]:
        """Files and directories that have to be removed when this process can't do it."""
        if self._extra is not None:
            return [self._extra.path]
        return [self._path] if self._path else []

    def close(self) -> None:
        """Nobody listens there any more."""
        if self._path:
            with suppress(OSError):  # the interchange has done it, or the directory is gone
                os.unlink(self._path)
        if self._extra is not None:
            self._extra.close()


def _directories(directory: RunDirectory) -> Iterator[RunDirectory]:
    """The run's own, and, made for the purpose, some with shorter names."""
    yield directory
    usual = tempfile.gettempdir()
    for below in ([] if directory.is_temporary else [usual]) + ([] if usual == _SHORT else [_SHORT]):
        with suppress(ConfigurationError):
            yield RunDirectory(below=below)


def _why_not(path: str) -> Exception | None:
    """Why no socket can be there: a name that is too long or odd, a file system that has none; None if it can."""
    if not path.isprintable():
        # zmq takes a text; and a new line in it would spoil the system's list of all sockets (/proc/net/unix).
        return ValueError(f"{path!r} has characters that can't be shown")
    try:
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(path)
            try:
                os.chmod(path, 0o600)  # whatever the umask is
                connect(server)
            finally:
                os.unlink(path)
    except OSError as problem:
        return problem
    return None
