"""Who has which place: a rank, and with it the cores and the accelerator that go with it (node.py).

There are as many places as a manager is to have workers. A worker keeps its place until its process has ended, and
who comes instead of it takes that. Only while tasks wait for others there are more workers than places: these share
the places of those that wait.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator

from parsl_pool.interchange.seat import Seat, SeatState


def open_places(seats: Collection[Seat], places: int, *, exclusive: bool) -> Iterator[int]:
    """Where new workers may be: first those that nobody has, then those whose workers all wait.

    exclusive: a worker that is about to end has its place until it has; it may still use what belongs to it.
    """
    staying = [seat for seat in seats if exclusive or seat.state is not SeatState.LEAVING]
    taken = {rank for seat in staying for rank in seat.ranks}
    in_use = {rank for seat in staying if not seat.waits for rank in seat.ranks}
    for place in range(places):
        if place not in taken:
            yield place
    for place in sorted(taken - in_use):
        yield place


def crowds(seats: Collection[Seat]) -> Counter[int]:
    """How many workers each place has, beside those that wait or leave."""
    there = [seat for seat in seats if not seat.waits and seat.state is not SeatState.LEAVING]
    return Counter(rank for seat in there for rank in seat.ranks)


def at_work(seats: Collection[Seat]) -> Counter[int]:
    """How many workers are at work in each place."""
    return Counter(rank for seat in seats if seat.held and not seat.waits for rank in seat.ranks)


def take_idle(idle: dict[int, Seat], seats: Collection[Seat], *, exclusive: bool, width: int = 1) -> Seat | None:
    """Take one of the idle workers. exclusive: it has so many places, and nobody is at work in them. None: no such."""
    if not exclusive:
        return idle.popitem()[1]
    busy = at_work(seats)
    for number, seat in reversed(idle.items()):
        if len(seat.ranks) == width and not any(busy[rank] for rank in seat.ranks):
            return idle.pop(number)
    return None
