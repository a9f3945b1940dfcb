"""A worker, as its manager's core sees it."""

from __future__ import annotations

from enum import Enum

from parsl_pool.interchange.columns import Tasks


class SeatState(Enum):
    """Where a worker is in its life."""

    STARTING = "its process is being started and initialised"
    READY = "it takes tasks"
    LEAVING = "it has been told to end, or has run as many tasks as it may"


class Seat:
    """A worker, as the core sees it."""

    __slots__ = (
        "held", "number", "places", "progress", "rank", "ranks", "sent", "settled", "skipped", "state",
        "taken_from", "taking_back", "to_skip", "waits",
    )  # fmt: skip

    def __init__(self, number: int, now: int, *ranks: int) -> None:
        self.number = number
        # Its places among the manager's workers: their cores and accelerators. More than one: see widening.py.
        self.ranks = ranks or (0,)
        self.rank = self.ranks[0]
        self.state = SeatState.STARTING
        # task -> its frame, its place there, and the index of the frame's first task among all that this
        # worker was ever sent; in the order of sending
        self.held: dict[int, tuple[Tasks, int, int]] = {}
        self.sent = 0
        self.settled = 0  # a task that something is set aside for; 0: none
        self.places = 1  # of workers, that what it does takes
        self.skipped = 0  # of those: how many it has not run, as they were taken back
        self.progress = now  # when it last finished something, or began to hold something
        self.taking_back = False  # from TakeBack until the worker has reported all that it skipped
        self.to_skip = 0  # how many of them it has not reported
        self.taken_from = 0  # the first index of the last TakeBack
        self.waits = False  # what it runs waits for other tasks: another worker may have its place
