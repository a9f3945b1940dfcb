"""What a manager's core (manager_core.py) asks its shell (manager.py) to do."""

from __future__ import annotations

from parsl_pool.interchange.columns import Tasks
from parsl_pool.interchange.named_tuple import NamedTuple


class Send(NamedTuple):
    """Give a worker these tasks."""

    worker: int
    tasks: Tasks


class Start(NamedTuple):
    """Start a worker process under this number."""

    worker: int


class TakeBack(NamedTuple):
    """Keep a worker from beginning its tasks from index `first` up to `last`; report by `taken_back`."""

    worker: int
    first: int
    last: int


class Lost(NamedTuple):
    """This task was running in a worker that ended."""

    worker: int
    task: int


class Retire(NamedTuple):
    """Tell a worker that has no tasks to end."""

    worker: int


class Release(NamedTuple):
    """Close these descriptors: the task that they were for is over."""

    descriptors: list[int]


class GiveUp(NamedTuple):
    """No worker can be kept alive long enough to become ready."""

    reason: str


class SetWindow(NamedTuple):
    """Tell the broker how many tasks we want to hold, and that less than `least` more need not be sent."""

    tasks: int
    lent: int  # places of tasks that wait for others
    least: int


class GiveBack(NamedTuple):
    """Return these to the broker: no worker has begun them, and none will."""

    tasks: Tasks


class Drained(NamedTuple):
    """No task is left here, and there will be none."""


Effect = Send | Start | Retire | TakeBack | Lost | Release | GiveUp | SetWindow | GiveBack | Drained
