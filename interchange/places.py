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
    taken = {seat.rank for seat in staying}
    in_use = {seat.rank for seat in staying if not seat.waits}
    for place in range(places):
        if place not in taken:
            yield place
    for place in sorted(taken - in_use):
        yield place


def crowds(seats: Collection[Seat]) -> Counter[int]:
    """How many workers each place has, beside those that wait or leave."""
    return Counter(seat.rank for seat in seats if not seat.waits and seat.state is not SeatState.LEAVING)


def at_work(seats: Collection[Seat]) -> Counter[int]:
    """How many workers are at work in each place."""
    return Counter(seat.rank for seat in seats if seat.held and not seat.waits)


def take_idle(idle: dict[int, Seat], seats: Collection[Seat], *, exclusive: bool) -> Seat | None:
    """Take one of the idle workers. exclusive: one in whose place nobody is at work; None if there is none."""
    if not exclusive:
        return idle.popitem()[1]
    busy = at_work(seats)
    for number, seat in reversed(idle.items()):
        if not busy[seat.rank]:
            return idle.pop(number)
    return None
