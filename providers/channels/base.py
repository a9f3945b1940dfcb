"""What every channel is: a way to run commands somewhere, and to bring files there and back."""

from __future__ import annotations

import errno
import os
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import NamedTuple

from parsl_pool.errors import BadPermsScriptPath, BadScriptPath, ChannelError, FileCopyException
from parsl_pool.providers.scripts import describe_failure

OUTPUT_LIMIT_BYTES = 64 * 1024 * 1024
"""Of a command's output at most so much is kept: the queue of a large site is some megabytes."""

TIMED_OUT = -1
"""The exit code of a command that did not end in time; it has been ended."""


class CommandResult(NamedTuple):
    """What came of a command. `code` is the shell's exit code, `TIMED_OUT`, or -n for signal n."""

    code: int
    stdout: str
    stderr: str

    def failure_of(self, command: str, limit_s: float) -> str:
        """How that command has failed, in words."""
        if self.code == TIMED_OUT:
            return f"{command!r} has not ended within cmd_timeout={limit_s:g} s, and was ended"
        return f"{command!r} failed (exit code {self.code}): {(self.stderr or self.stdout).strip()[:2000]}"


class Channel(ABC):
    """Runs commands on one machine, each in a process group of its own, and moves files there and back.

    Attributes:
        script_dir: where scripts go on that machine; None: where they were written on this one.
        is_shared: that machine sees this one's files under the same paths, so nothing needs to be moved.
    """

    script_dir: str | None = None
    is_shared: bool = False

    @property
    @abstractmethod
    def label(self) -> str:
        """Which machine it is, for messages."""

    @abstractmethod
    def execute_wait(
        self, command: str, walltime: float | None = None, envs: Mapping[str, str] | None = None
    ) -> CommandResult:
        """Runs a line of shell and waits for its end.

        Args:
            walltime: seconds until it is ended, with all that it started, and the result's code is `TIMED_OUT`.
            envs: variables of its environment, beside those of the channel.

        Raises:
            ChannelError: the command could not be started; or (SSHException) the connection was cut while it ran,
                and nobody knows what became of it.
        """

    @abstractmethod
    def push_file(self, source: str | os.PathLike[str], dest_dir: str) -> str:
        """Copies a file of this machine into a directory of that one; gives its path there.

        One that is there already is replaced at once, so that nobody ever sees half of it.

        Raises:
            ChannelError: it is not there; no half file is.
        """

    @abstractmethod
    def pull_file(self, remote_source: str, local_dir: str | os.PathLike[str]) -> str:
        """Copies a file of that machine into a directory of this one; gives its path here.

        Raises:
            ChannelError: as for `push_file`; FileExists: an existing file is not written over.
        """

    @abstractmethod
    def makedirs(self, path: str, mode: int = 0o700, exist_ok: bool = False) -> None:
        """Makes a directory there, and those above it. Raises ChannelError."""

    @abstractmethod
    def isdir(self, path: str) -> bool:
        """True if that is a directory there."""

    @abstractmethod
    def abspath(self, path: str) -> str:
        """The absolute path there."""

    def open_reverse(self, port: int) -> int:
        """The port of that machine's loopback whose connections come out here, at 127.0.0.1:port.

        Opened by the first call, and opened again by a later one if the connection was cut meanwhile: then it may be
        another port. To be called by one thread.

        Raises:
            ChannelError: there is no connection now, or that machine forwards no ports.
        """
        raise ChannelError(f"a {type(self).__name__} can't bring connections back from there", "", self.label)

    @abstractmethod
    def close(self) -> bool:
        """Ends the connection; False if there is none to end. The next use makes another one."""


def path_error(what: str, error: OSError, hostname: str) -> ChannelError:
    """The error of ours for one of a file system, here or there."""
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return BadPermsScriptPath(what, describe_failure(error), hostname)
    return BadScriptPath(what, describe_failure(error), hostname)


def copy_error(what: str, error: OSError, hostname: str) -> ChannelError:
    """The same for a copy that has failed."""
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return BadPermsScriptPath(what, describe_failure(error), hostname)
    return FileCopyException(what, describe_failure(error), hostname)
