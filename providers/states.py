"""What a provider says about a job: its state, and what it has left behind."""

from __future__ import annotations

import os
from dataclasses import dataclass
from enum import IntEnum

SUMMARY_TRUNCATION_THRESHOLD = 2048
"""Length in characters above which a summary of a job's output loses its beginning."""

OUTPUT_LIMIT_BYTES = 8 * 1024 * 1024
"""How much of a job's output is read at most: one that logs for weeks must not fill the client's memory."""


class JobState(IntEnum):
    """How a job fares. The numbers are stored by monitoring and never change."""

    UNKNOWN = 0
    """The provider cannot tell. Counts as alive, since taking it for ended would start one block after another."""
    PENDING = 1
    """Accepted, not started."""
    RUNNING = 2
    """Started, not ended."""
    CANCELLED = 3
    """Ended because someone asked for it."""
    COMPLETED = 4
    """Ended by itself, with exit code 0."""
    FAILED = 5
    """Ended by itself with another exit code, or by a signal."""
    TIMEOUT = 6
    """Ended by its walltime. That was to be expected, and is not a failure."""
    HELD = 7
    """Kept from starting by the scheduler until someone acts."""
    MISSING = 8
    """Ended, and no manager ever connected from it. Set by the executor, not by a provider."""


TERMINAL_STATES = frozenset(
    {JobState.CANCELLED, JobState.COMPLETED, JobState.FAILED, JobState.TIMEOUT, JobState.MISSING}
)


@dataclass(frozen=True, slots=True)
class JobStatus:
    """A job's state at one moment, the reason in words, and where its output is.

    `exit_code` is the shell's: 128 + n if signal n ended it. None: not ended, or the provider does not know.
    The paths are None if the output is not on this machine.
    """

    state: JobState
    message: str | None = None
    exit_code: int | None = None
    stdout_path: str | None = None
    stderr_path: str | None = None

    @property
    def terminal(self) -> bool:
        """The job has ended, and this status is its last."""
        return self.state in TERMINAL_STATES

    @property
    def status_name(self) -> str:
        return self.state.name

    @property
    def stdout(self) -> str | None:
        """What the job wrote there, the last `OUTPUT_LIMIT_BYTES` at most; None if that cannot be read."""
        return _tail(self.stdout_path, OUTPUT_LIMIT_BYTES)

    @property
    def stderr(self) -> str | None:
        """As `stdout`."""
        return _tail(self.stderr_path, OUTPUT_LIMIT_BYTES)

    @property
    def stdout_summary(self) -> str | None:
        """The end of stdout, `SUMMARY_TRUNCATION_THRESHOLD` characters at most."""
        return _summary(self.stdout_path)

    @property
    def stderr_summary(self) -> str | None:
        """As `stdout_summary`."""
        return _summary(self.stderr_path)


def _tail(path: str | None, limit_bytes: int) -> str | None:
    if path is None:
        return None
    try:
        with open(path, "rb") as file:
            size_bytes = file.seek(0, os.SEEK_END)
            file.seek(max(0, size_bytes - limit_bytes))
            return file.read(limit_bytes).decode(errors="replace")
    except OSError:  # the run directory may be gone; what is told here is an extra to some other message
        return None


def _summary(path: str | None) -> str | None:
    # A character is 4 bytes at most: this many are enough to see whether the text is too long.
    text = _tail(path, 4 * (SUMMARY_TRUNCATION_THRESHOLD + 1))
    if text is None or len(text) <= SUMMARY_TRUNCATION_THRESHOLD:
        return text
    mark = "[...] "
    return mark + text[len(mark) - SUMMARY_TRUNCATION_THRESHOLD :]
