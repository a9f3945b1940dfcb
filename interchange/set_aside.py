"""What a manager sets aside for a task that asks for something, while it runs; and what the task is told of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from parsl_pool.interchange.columns import Tasks
from parsl_pool.interchange.named_tuple import NamedTuple
from parsl_pool.interchange.packing import Amounts, Has, needs
from parsl_pool.interchange.request import Request


class Share(NamedTuple):
    """What a task has for itself."""

    places: int  # of workers; its own is one of them
    nodes: list[str]  # for its MPI program


def says_nothing(request: Request, share: Share) -> list[str]:
    """What the environment of a task has to say of its share: nothing."""
    return []


class SetAside:
    """What is there to be set aside. Belongs to the manager's core, as pure as that."""

    def __init__(
        self,
        has: Has,
        nodes: Sequence[str] = (),
        says: Callable[[Request, Share], list[str]] = says_nothing,
    ) -> None:
        self.has = has
        self._says = says
        self._order = {name: place for place, name in enumerate(nodes)}
        self._free = list(nodes)
        self._shares: dict[int, Share] = {}  # task -> what it has

    def node(self, elapsed_ms: int = 0) -> list[int]:
        """What there is, for `wire.Register`. elapsed_ms: since the manager began."""
        *amounts, lasts_ms = self.has[1:]
        return [*amounts, max(1, lasts_ms - elapsed_ms) if lasts_ms else 0]

    def take(self, tasks: Tasks, places: int) -> int:
        """Set aside what a task asks for, and note what it is to be told. places: so many of workers' are free.

        Returns how many of these it has; 0: it can't run now.
        """
        request = tasks.request
        assert request is not None  # else nothing is set aside
        wanted = self._needs(request)[0]
        if wanted > places or request.num_nodes > len(self._free):
            return 0
        nodes, self._free = self._free[: request.num_nodes], self._free[request.num_nodes :]
        share = self._shares[tasks.task_ids()[0]] = Share(wanted, nodes)
        tasks.environment = self._says(request, share)
        return wanted

    def give_back(self, task: int) -> None:
        """It is over, however."""
        share = self._shares.pop(task, None)
        if share is not None:
            # In their old order: nodes that are neighbours in the list often are so in the machine, too.
            self._free = sorted([*self._free, *share.nodes], key=self._order.__getitem__)

    def told(self, tasks: Sequence[tuple[int, Request]]) -> list[int]:
        """Of tasks that are here: the number of each, and what it takes. See `settled_of`."""
        return [number for task, request in tasks for number in (task, *self._needs(request))]

    def _needs(self, request: Request) -> Amounts:
        # The broker never sends what we can't hold; should it, the task has all that there is.
        return needs(request, self.has) or (self.has.workers, request.memory_mb, request.disk_mb, len(self._order))


def settled_of(numbers: Sequence[int]) -> dict[int, Amounts]:
    """What `SetAside.told` tells, by task. Numbers that are too few for a task are none."""
    whole = len(numbers) // 5 * 5
    rows = [numbers[start : start + 5] for start in range(0, whole, 5)]
    return {row[0]: (row[1], row[2], row[3], row[4]) for row in rows if min(row) >= 0}
