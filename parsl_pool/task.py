"""Inside a running task: what it can say, ask, and keep for its next try.

    from parsl_pool import task

    def fit(data, epochs):
        model = task.restored(default=None) or Model()
        for epoch in range(model.epoch, epochs):
            model.improve(data)
            task.save(model)
            task.progress(epoch / epochs, f"epoch {epoch}")
            if task.should_stop():
                break
        return model

Outside of a task all of it is there and does nothing.

Attributes:
    id: number of the task, as in `future.tid`; 0 outside of a task.
    try_number: number of this try, from 0 on.
    worker_rank: number of the worker within its manager, from 0 on; -1 if no worker process runs the task.
    pid, host: process and host where this runs.
    run_id: names the run of the pool: `pool.run_id`.
    executor: label of the executor that runs the task.
"""

from __future__ import annotations

from typing import Any

from parsl_pool.errors import ConfigurationError, SerializationError, WrongType, shown
from parsl_pool.interchange import running_task, serialize

TYPE_CHECKING = False  # checkers know the name
if TYPE_CHECKING:
    id: int  # an attribute of this module, `task.id`
    try_number: int
    worker_rank: int
    pid: int
    host: str
    run_id: str
    executor: str

_ATTRIBUTES = ("id", "try_number", "worker_rank", "pid", "host", "run_id", "executor")

LARGEST_STATE = 1 << 28
"""Bytes that the pickle of a state may have. What is larger belongs into a file, and its path into the state."""

_LONGEST_TEXT = 1000
_LONGEST_LINE = 4000


def progress(fraction: float | None, text: str = "") -> None:
    """Tell how much of the task is done. The client sees it as `future.progress`, and in `pool.explain()`.

    It may be called as often as you like: ten or so a second are sent, and the last one before the task's result.

    Args:
        fraction: from 0 to 1; None if you can't tell.
        text: a few words; 1000 characters are sent.

    Raises:
        WrongType, ConfigurationError: the fraction is no number, or not from 0 to 1; the text is no text.
    """
    number = _fraction(fraction)
    if not isinstance(text, str):
        raise WrongType(f"text must be a text, got {shown(text)}")
    running_task.current().progress(number, text[:_LONGEST_TEXT])


def _fraction(fraction: Any) -> float | None:
    if fraction is None:
        return None
    if isinstance(fraction, (str, bytes, bool)) or not hasattr(fraction, "__float__"):
        raise WrongType(f"fraction must be a number from 0 to 1, or None, got {shown(fraction)}")
    number = float(fraction)
    if not -_ROUNDING <= number <= 1 + _ROUNDING:
        raise ConfigurationError(f"fraction must be a number from 0 to 1, or None, got {shown(fraction)}")
    return min(1.0, max(0.0, number))


_ROUNDING = 1e-6  # sums of fractions miss 1 by a little


def save(state: object) -> None:
    """Keep this for the next try of the task: should this one fail, or die, `restored` gives it there.

    It has left this process when `save` returns, so the death of the worker does not lose it. If the whole node or the
    interchange dies at that moment, the one before may be what is kept. The last one counts; it is dropped when the
    task ends.

    Raises:
        SerializationError: it can't be pickled, or its pickle is larger than `LARGEST_STATE`.
    """
    payload = serialize.dump_value(state, "the state")
    size = serialize.size_of(payload)
    if size > LARGEST_STATE:
        reason = f"its pickle has {size:,} bytes, and may have {LARGEST_STATE:,}; save the path of a file instead"
        raise SerializationError("the state", "", reason)
    running_task.current().save(payload)


def restored(default: Any = None) -> Any:
    """What the tries before this one have saved last; the default if that is nothing.

    Raises whatever unpickling it raises.
    """
    payload = running_task.current().restored()
    return serialize.load_value(payload) if len(payload) else default


def should_stop() -> bool:
    """True if the task is to end before it is done. It costs next to nothing to ask.

    That is so if somebody has called `future.stop()`, if the last tenth of the walltime has begun (the last 30 seconds
    of a long one), if the pool is shut down with `cancel_futures=True`, or the task's workers are being ended.
    """
    return running_task.current().should_stop()


def log(text: str, *args: object, level: int = 20) -> None:
    """Write to the client's logger `parsl_pool.task`, with the task's number and name before it.

    Up to 100 lines at once and 10 a second are sent; how many were left out is said with the next one.

    Args:
        text, args: as for `logging`: `text % args`.
        level: as in `logging`: 20 is INFO.

    Raises:
        WrongType, ConfigurationError: the text is no text, or the level none from 1 to 50.
    """
    if not isinstance(text, str):
        raise WrongType(f"text must be a text, got {shown(text)}")
    if isinstance(level, bool) or not isinstance(level, int):
        raise WrongType(f"level must be a number from 1 to 50, got {shown(level)}")
    if not 1 <= level <= 50:
        raise ConfigurationError(f"level must be a number from 1 to 50, got {shown(level)}")
    running_task.current().log(level, (text % args if args else text)[:_LONGEST_LINE])


def __getattr__(name: str) -> Any:
    if name in _ATTRIBUTES:
        return getattr(running_task.current(), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_ATTRIBUTES})
