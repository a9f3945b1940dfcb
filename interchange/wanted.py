"""What a client wants of each node, and the places for workers that a manager makes of that."""

from __future__ import annotations

from parsl_pool.interchange.named_tuple import NamedTuple
from parsl_pool.interchange.wire import Settings

NOT_BOUND = "none"
FIND = -1  # a number of accelerators: as many as are found


class UnfitNode(Exception):
    """No worker can run here as the client wants them. The text says why."""


class Wanted(NamedTuple):
    """See the fields of these names in `wire.Settings`."""

    workers: int
    cores_per_worker: int
    memory_per_worker: int
    accelerators: list[str]
    accelerator_count: int
    affinity: str
    prefetch: int

    @property
    def is_plain(self) -> bool:
        """True if only the number of workers matters."""
        needs = self.cores_per_worker or self.memory_per_worker or self.accelerators or self.accelerator_count
        return bool(self.workers) and not needs and self.affinity == NOT_BOUND


class Place(NamedTuple):
    """What belongs to one of the workers that there are at a time."""

    cores: list[int]  # that it may use; none: all
    variables: list[str]  # of its environment: NAME=value


class Node(NamedTuple):
    """Places for workers, and what is to be said of them."""

    places: list[Place]
    devices: list[int]  # of each place, the number of its accelerator: some may share one; none: there are none
    notes: list[str]  # warnings

    @property
    def has_accelerators(self) -> bool:
        """True if each place has one."""
        return bool(self.devices)


def wanted_of(settings: Settings) -> Wanted:
    """What a client's settings say of nodes."""
    return Wanted(
        settings.workers, settings.cores_per_worker, settings.memory_per_worker, settings.accelerators,
        settings.accelerator_count, settings.affinity, settings.prefetch,
    )  # fmt: skip


def rank_variable(rank: int) -> str:
    """What a worker's environment says of its rank."""
    return f"PARSL_WORKER_RANK={rank}"
