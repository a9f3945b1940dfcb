"""Workers that have the accelerators of several places, for tasks that ask for more than one.

A library asks which accelerators there are once, and keeps to that. So a task that asks for three gets a worker that
was started with three. It takes the places of three others, who end first: no accelerator is left with two processes.
Such a worker stays, for the next task of its kind, until its places are needed for something else.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from parsl_pool.interchange.named_tuple import NamedTuple
from parsl_pool.interchange.places import at_work
from parsl_pool.interchange.seat import Seat, SeatState

_ENDS, _IDLE, _STARTS = 1, 2, 3


class Way(NamedTuple):
    """What is to be done before the first task can begin."""

    retire: list[int]  # idle workers, who are in the way
    ranks: tuple[int, ...]  # of a worker that can be started now; none: there are still others, or one is there
    kept: frozenset[int]  # places in which nobody else is to be started


NO_WAY: Way = Way([], (), frozenset())


def find_way(
    seats: Collection[Seat], idle: Mapping[int, Seat], places: int, width: int, devices: Sequence[int]
) -> Way:
    """How a task gets a worker of so many places, with an accelerator of its own in each.

    devices: the accelerator of each place; none: another one in each. In a single place that is free the manager
    starts a worker anyway.
    """
    busy = at_work(seats)
    for seat in seats:
        is_coming = seat.state is not SeatState.LEAVING and not seat.held
        if is_coming and len(seat.ranks) == width and not any(busy[rank] for rank in seat.ranks):
            return NO_WAY
    trouble = _trouble(seats, [rank for rank in range(places) if not busy[rank]])
    chosen: dict[int, int] = {}  # accelerator -> place
    for rank in sorted(trouble, key=trouble.__getitem__):  # where least is to be done, neighbours first
        if len(chosen) < width:
            chosen.setdefault(devices[rank] if devices else rank, rank)
    ranks = frozenset(chosen.values())
    is_free = not any(trouble[rank] for rank in ranks)
    if len(ranks) < width or (width == 1 and is_free):
        return NO_WAY
    retire = [number for number, seat in idle.items() if not ranks.isdisjoint(seat.ranks)]
    return Way(retire, tuple(sorted(ranks)) if is_free else (), ranks if width > 1 else frozenset())


def _trouble(seats: Collection[Seat], free: Collection[int]) -> dict[int, int]:
    """What is in the way in each of these places; 0 for nothing."""
    found = dict.fromkeys(free, 0)
    for seat in seats:
        if seat.waits:
            continue  # its places are lent
        leaving = seat.state is SeatState.LEAVING
        kind = _ENDS if leaving else _STARTS if seat.state is SeatState.STARTING else _IDLE
        for rank in seat.ranks:
            if rank in found:
                found[rank] = max(found[rank], kind)
    return found
