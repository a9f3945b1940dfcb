"""Where the managers of one executor meet their interchange: a unix socket if all of them are on this host, or a port.

The socket lies in a directory that only this user can enter, so nobody else gets as far as to connect. A port can be
reached by every user of this host, at least; CURVE turns them away there, which costs something each time.
"""

from __future__ import annotations

import os
import random
import socket
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

from parsl_pool.errors import ConfigurationError
from parsl_pool.loggers import careful_logger
from parsl_pool.run_directory import RunDirectory

log = careful_logger("parsl_pool.interchange")

LOOPBACK = "127.0.0.1"
_NAME = "managers"
_IPC = "ipc://"
_SHORT = "/tmp"  # POSIX has it; the usual place for what is temporary may have a long name
_CONNECT_S = 5.0


class MeetingPlace:
    """Its methods are called by the thread that has the executor's blocks, in the order of a life."""

    def __init__(
        self, directory: RunDirectory, is_local: bool, address: str | None, ports: tuple[int, int] | None
    ) -> None:
        """Find one.

        Args:
            directory: the run's own.
            is_local: all managers will be on this host.
            address, ports: what the user has asked for: there is to be a port then.

        Raises:
            OSError: nobody could connect there; managers would try for ever.
        """
        self._extra: RunDirectory | None = None  # only for the socket
        self._path = ""  # of the socket
        self._address = ""  # where it really is
        if is_local and address is None and ports is None:
            self._path = self._free_path(directory)
        if self._path:
            self._choices = [_IPC + self._path]
        else:
            host = address or LOOPBACK
            _check(host, hint=address is None)
            self._choices = [f"tcp://{host}:{port}" for port in _shuffled(ports)]

    def _free_path(self, directory: RunDirectory) -> str:
        """A path that a socket can have, in a directory of ours; "" if there is none."""
        problem: Exception | None = None
        for place in _directories(directory):
            path = os.path.join(place.path, _NAME)
            problem = _why_not(path)
            if problem is None:
                self._extra = None if place is directory else place
                return path
            if place is not directory:
                place.close()
        log.warning(
            "managers connect to a port of %s, which every user of this host can reach, though only they are let in: "
            "a unix socket can't be made (%s)", LOOPBACK, problem,
        )  # fmt: skip
        return ""

    def addresses(self) -> list[str]:
        """Where the interchange is to listen: the first of them that is free. Managers come back to the last one."""
        return [self._address, *self._choices] if self._address else self._choices

    def settled(self, address: str) -> None:
        """It listens there."""
        self._address = address

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
                _connect(server)
            finally:
                os.unlink(path)
    except OSError as problem:
        return problem
    return None


def _connect(server: socket.socket) -> None:
    server.listen(1)
    with socket.socket(server.family) as client:
        client.settimeout(_CONNECT_S)
        client.connect(server.getsockname())


def _check(host: str, hint: bool) -> None:
    """Raises OSError if nobody can connect to this machine by that address, or it is another machine's."""
    with socket.socket() as server:
        try:
            server.bind((host, 0))
            _connect(server)
        except OSError as problem:
            more = (
                "Is the loopback interface up? With manager_inside=True nothing needs a network" if hint
                else "Is it an address of this machine?"
            )  # fmt: skip
            raise OSError(
                problem.errno,
                f"managers that are processes of their own connect by {host}, which does not work here: {problem}. "
                f"{more}",
            ) from problem


def _shuffled(ports: tuple[int, int] | None) -> list[Any]:
    """In an order of our own: runs that start together should not all try the same ones."""
    if ports is None:
        return ["*"]
    numbers = range(ports[0], ports[1] + 1)
    return random.sample(numbers, len(numbers))
