"""What to do when blocks fail: handlers for `block_error_handler=`. Each is called with the executor, and what has
become of each of its blocks, the oldest first, whenever something has.

A block has failed if its job did (FAILED), or ended without that a manager of it ever registered (MISSING). The end of
a walltime (TIMEOUT) and a cancelled job are no failures.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from parsl_pool.providers.states import JobState, JobStatus

Handler = Callable[[Any, Mapping[str, JobStatus]], object]

_FAILED = frozenset({JobState.FAILED, JobState.MISSING})
_GOOD = frozenset({JobState.RUNNING, JobState.COMPLETED, JobState.TIMEOUT})
_TOLD = 3  # so many blocks have their words in the error


def noop_error_handler(executor: Any, status: Mapping[str, JobStatus], threshold: int = 3) -> None:
    """Does nothing: blocks are started again and again, with longer and longer pauses."""


def simple_error_handler(executor: Any, status: Mapping[str, JobStatus], threshold: int = 3) -> None:
    """Gives up if the first `threshold` blocks have all failed, and none has been of use."""
    first = list(status.values())[:threshold]
    if len(first) < threshold or any(one.state in _GOOD for one in status.values()):
        return
    if all(one.state in _FAILED for one in first):
        _give_up(executor, status, f"the first {threshold} blocks have all failed")


def windowed_error_handler(executor: Any, status: Mapping[str, JobStatus], threshold: int = 3) -> None:
    """Gives up if the latest `threshold` blocks have all failed."""
    latest = list(status.values())[-threshold:]
    if len(latest) == threshold and all(one.state in _FAILED for one in latest):
        _give_up(executor, status, f"the latest {threshold} blocks have all failed")


def _give_up(executor: Any, status: Mapping[str, JobStatus], what: str) -> None:
    from parsl_pool.errors import PoolBroken  # with its base class, which only pools with a problem need

    failed = [(block, one) for block, one in status.items() if one.state in _FAILED][-_TOLD:]
    words = "\n".join(f"block {block} ({one.status_name}): {_words(one)}" for block, one in failed)
    executor.set_bad_state_and_fail_all(PoolBroken(f"{what}.\n{words}", getattr(executor, "label", "")))


def _words(status: JobStatus) -> str:
    message = status.message or "nothing is known of its end"
    if "stderr ends with" in message:  # who has put it together has asked already
        return message
    said = (status.stderr_summary or status.stdout_summary or "").strip()
    return f"{message}; it said:\n{said}" if said else message
