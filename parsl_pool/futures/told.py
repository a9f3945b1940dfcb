"""What a task has told its client while it runs, and whether it has been asked to stop."""

from __future__ import annotations

from typing import Any, NamedTuple


class Progress(NamedTuple):
    """How far a task is, as it has said itself.

    Attributes:
        fraction: from 0 to 1; None if it can't tell.
        text: its own words.
        when: `time.time()` on its host when it said so.
    """

    fraction: float | None
    text: str
    when: float

    def __str__(self) -> str:
        parts = [] if self.fraction is None else [f"{self.fraction:.0%}"]
        return ", ".join(parts + ([self.text] if self.text else []))


class Told:
    """All tries of a task share it. Written by the thread that brings messages, and by who asks the task to stop."""

    __slots__ = ("is_stopping", "progress", "state")

    def __init__(self) -> None:
        self.progress: Progress | None = None
        self.state: Any = None  # what it has saved: a payload
        self.is_stopping = False  # somebody has asked it to stop: there will be no further try


def told_by(record: Any) -> Told:
    """What the task of this record has told; made if there is nothing yet."""
    if record.parent is not None:
        record = record.parent
    if record.told is None:
        record.told = Told()
    told: Told = record.told
    return told


def known_of(record: Any) -> Told | None:
    """The same, None if there is nothing."""
    if record is None:
        return None
    told: Told | None = record.told if record.parent is None else record.parent.told
    return told


def progress_of(future: Any) -> Progress | None:
    """What `AppFuture.progress` is; the future may be of any kind."""
    told = known_of(getattr(future, "_record", None))
    return told.progress if told is not None else None


def stop(future: Any) -> bool:
    """What `AppFuture.stop` does."""
    if future.cancel():
        return True
    ask = getattr(future._owner, "stop", None)
    return not future.done() and ask is not None and bool(ask(future))
