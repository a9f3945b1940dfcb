"""What a scheduler says of a job at one moment."""

from __future__ import annotations

from typing import NamedTuple

from parsl_pool.providers.states import JobState, JobStatus


class Seen(NamedTuple):
    """What a scheduler says of a job: its state, the reason in its own words, and the exit code if it tells."""

    state: JobState
    reason: str = ""
    exit_code: int | None = None


def with_reason(seen: Seen, reason: str | None, last: Seen) -> Seen:
    """With why it waits: as told now, or else as told before, if it still waits."""
    if reason:
        return seen._replace(reason=f"{seen.reason}: {reason}" if seen.reason else reason)
    return last if last.state is seen.state and last.reason.startswith(f"{seen.reason}:") else seen


def is_over(seen: Seen) -> bool:
    """It has ended."""
    return JobStatus(seen.state).terminal
