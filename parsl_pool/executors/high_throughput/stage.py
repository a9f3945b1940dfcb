"""The life of a link."""

from enum import Enum


class Stage(Enum):
    """Where a link is in its life."""

    NEW = "nothing is started yet"
    OPEN = "tasks are taken"
    DRAINING = "no new tasks; those that are there are finished"
    STOPPING = "the interchange has been told to end"
    CLOSED = "everything has ended"
