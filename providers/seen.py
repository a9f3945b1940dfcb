"""What a scheduler says of a job at one moment."""

from __future__ import annotations

from typing import NamedTuple

from parsl_pool.providers.states import JobState, JobStatus

_BEFORE_S = 30  # what a site does on the nodes before a script begins


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


def ended_with(code: int, ran_s: int, walltime_s: int) -> Seen:
    """How a job ended, by what its script has written last.

    A scheduler may have told nothing. One whose script was ended by a signal as its walltime was over has reached that;
    the walltime began a bit before the script.
    """
    reason = f"its script ended with exit code {code}"
    if code > 128 and ran_s >= walltime_s - min(_BEFORE_S, walltime_s // 10):
        return Seen(JobState.TIMEOUT, f"{reason} after {ran_s} s, its walltime", code)
    return Seen(JobState.COMPLETED if code == 0 else JobState.FAILED, reason, code)
