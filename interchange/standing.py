"""How one manager stands: what an interchange tells its client of it, as a line of text.

    manager | tasks that it holds | ... | version        joined by tabs, which none of the texts has
"""

from __future__ import annotations

from parsl_pool.errors import BadMessage
from parsl_pool.interchange.named_tuple import NamedTuple


class Standing(NamedTuple):
    """A manager that has registered, at the moment of asking."""

    manager: str
    held: int  # tasks
    window: int  # how many it wants to hold
    takes_tasks: int  # 1: it is given more
    is_draining: int  # 1: it ends when it has finished
    idle_ms: int  # for how long it has held no task
    workers: int  # that it is to have
    block: str
    host: str
    pid: int
    python: str
    version: str  # of parsl_pool

    def line(self) -> str:
        """As text."""
        return "\t".join(map(str, self))


def read(line: str) -> Standing:
    """What `line()` has written. Raises BadMessage."""
    try:
        name, held, window, takes, drains, idle_ms, workers, block, host, pid, python, version = line.split("\t")
        return Standing(
            name, int(held), int(window), int(takes), int(drains), int(idle_ms), int(workers), block, host, int(pid),
            python, version,
        )  # fmt: skip
    except ValueError:
        raise BadMessage(f"a manager's line that can't be read: {line[:200]!r}") from None
