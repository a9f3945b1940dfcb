"""What every channel is: a way to run commands somewhere, and to bring files there and back."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import NamedTuple

OUTPUT_LIMIT_BYTES = 64 * 1024 * 1024
"""Of a command's output at most so much is kept: the queue of a large site is some megabytes."""

TIMED_OUT = -1
"""The exit code of a command that did not end in time; it has been ended."""


class CommandResult(NamedTuple):
    """What came of a command. `code` is the shell's exit code, `TIMED_OUT`, or -n for signal n."""

    code: int
    stdout: str
    stderr: str


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
            ExecutionProviderException: the command could not be started.
        """

    @abstractmethod
    def push_file(self, source: str | os.PathLike[str], dest_dir: str) -> str:
        """Copies a file of this machine into a directory of that one; gives its path there.

        Raises:
            ExecutionProviderException: it is not there; no half file is.
        """

    @abstractmethod
    def pull_file(self, remote_source: str, local_dir: str | os.PathLike[str]) -> str:
        """Copies a file of that machine into a directory of this one; gives its path here.

        Raises:
            ExecutionProviderException: as for `push_file`; an existing file is not written over.
        """

    @abstractmethod
    def makedirs(self, path: str, mode: int = 0o700, exist_ok: bool = False) -> None:
        """Makes a directory there, and those above it. Raises ExecutionProviderException."""

    @abstractmethod
    def isdir(self, path: str) -> bool:
        """True if that is a directory there."""

    @abstractmethod
    def abspath(self, path: str) -> str:
        """The absolute path there."""

    @abstractmethod
    def close(self) -> bool:
        """Ends the connection; False if there is none to end."""
