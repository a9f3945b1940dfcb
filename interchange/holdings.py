"""The tasks that a manager has, and who has them."""

from __future__ import annotations

from collections import deque
from struct import unpack_from

from parsl_pool.interchange.columns import Tasks, single
from parsl_pool.interchange.seat import Seat, SeatState
from parsl_pool.interchange.set_aside import SetAside

RELIEVE_NS = 50_000_000
"""After so long without any result, tasks that no worker has go back to the broker: another manager may be free."""


class Holdings:
    """Answers questions. What is here is changed by the manager's core."""

    def __init__(self, aside: SetAside) -> None:
        self.aside = aside  # for tasks that ask for something
        self.queue: deque[Tasks] = deque()  # what no worker has
        self.queued = 0
        self.seats: dict[int, Seat] = {}

    def holder(self, task: int) -> int | None:
        """The worker that holds a task."""
        for number, seat in self.seats.items():
            if task in seat.held:
                return number
        return None

    def function_of(self, worker: int, task: int) -> int | None:
        """The number of the function that a worker's task calls; None if it does not hold that task."""
        seat = self.seats.get(worker)
        held = seat.held.get(task) if seat is not None else None
        return unpack_from("<I", held[0].functions, 4 * held[1])[0] if held is not None else None

    def is_jammed(self, now: int) -> bool:
        """True if tasks wait, and every worker has been at the same one for long."""
        return bool(self.queue and self.seats) and all(
            seat.state is SeatState.READY and now - seat.progress >= RELIEVE_NS for seat in self.seats.values()
        )

    def taken_queue(self) -> list[Tasks]:
        """All that no worker has, the last frame first: each is to go before the others. They are here no more."""
        tasks = list(reversed(self.queue))
        self.queue.clear()
        self.queued = 0
        return tasks

    def is_leaving(self, worker: int) -> bool:
        """True if a worker has run as many tasks as it may: its end is no news."""
        seat = self.seats.get(worker)
        return seat is not None and seat.state is SeatState.LEAVING

    def is_starting(self, worker: int) -> bool:
        """True until a worker has said that it is ready."""
        seat = self.seats.get(worker)
        return seat is not None and seat.state is SeatState.STARTING

    def remove_queued(self, task: int) -> bool:
        """Drop a task that no worker has. False if it isn't there."""
        for position, frame in enumerate(self.queue):
            ids = frame.task_ids()
            if task in ids:
                place = ids.index(task)
                rest = [single(frame, other) for other in range(frame.count) if other != place]
                del self.queue[position]
                for other in reversed(rest):
                    self.queue.insert(position, other)
                self.queued -= 1
                return True
        return False

    def is_crowded(self) -> bool:
        """True if a worker holds more than what it runs: call the core's `tick` before long."""
        return any(len(seat.held) > 1 and not seat.taking_back for seat in self.seats.values())

    def watched(self) -> list[int]:
        """Workers that hold more than what they run: look at their pages, then call the core's `tick`."""
        return [number for number, seat in self.seats.items() if len(seat.held) > 1 and not seat.taking_back]

    def held_tasks(self) -> list[int]:
        """Every task that is here, running or waiting."""
        ids = [task for seat in self.seats.values() for task in seat.held]
        for frame in self.queue:
            ids.extend(frame.task_ids())
        return ids

    def settled_tasks(self) -> list[int]:
        """What the tasks that are here take of what they asked for. See `SetAside.told`."""
        frames = [frame for seat in self.seats.values() for frame, *_ in seat.held.values()]
        asking = [(frame.task_ids()[0], frame.request) for frame in [*frames, *self.queue] if frame.request is not None]
        return self.aside.told(asking)

    def lent(self) -> int:
        """Places of those that wait for others."""
        return sum([seat.places for seat in self.seats.values() if seat.waits])
