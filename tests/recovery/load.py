"""10,000 tasks under way, all the time: what runs while processes of the pool are killed or stopped.

    load = Load(pool, path)  ->  load.top_up(), load.advance(500), something dies, ...  ->  load.finish()
    load.check(errors)

The tasks themselves keep the books: how often each has begun stands in a file.
"""

import time
from concurrent.futures import Future
from pathlib import Path
from typing import Any, cast

from parsl_pool import ParslPoolExecutor
from tests.eventually import eventually
from tests.recovery.ledger import note, noted

TASKS = 10_000

Errors = type[BaseException] | tuple[type[BaseException], ...]


def work(path: Path, task: int) -> int:
    note(path, task)
    if task % 50 == 0:
        time.sleep(0.01)
    return task * 3


class Load:
    """Tasks of one pool, and what is known of them."""

    def __init__(self, pool: ParslPoolExecutor, path: Path) -> None:
        self._pool, self._path = pool, path
        self.futures: list[Future[int]] = []

    @property
    def done(self) -> int:
        return sum(future.done() for future in self.futures)

    @property
    def under_way(self) -> int:
        return len(self.futures) - self.done

    def top_up(self) -> None:
        """Submit until 10,000 are under way."""
        first = len(self.futures)
        for task in range(first, first + TASKS - self.under_way):
            self.futures.append(self._pool.submit(work, self._path, task))

    def advance(self, tasks: int, within: float = 60) -> None:
        """Wait until so many more are done."""
        goal = self.done + tasks
        eventually(lambda: self.done >= goal, within)

    def finish(self, within: float = 120) -> None:
        """Wait until all are done."""
        eventually(lambda: self.under_way == 0, within)

    def check(self, errors: Errors = ()) -> int:
        """Each has its value, or failed with one of these; none began more often than it may. How many failed."""
        begun = noted(self._path)
        failures = 0
        for task, future in enumerate(self.futures):
            error = future.exception(0)
            if error is None:
                assert future.result(0) == task * 3
                assert begun[task] >= 1
            else:
                assert isinstance(error, errors), f"task {task}: {error!r}"
                failures += 1
            record = cast(Any, future)._record  # of ours
            failed = len(record.attempts) if record is not None else int(error is not None)
            assert begun[task] <= failed + (error is None), (
                f"task {task} began {begun[task]} times, {failed} tries failed, and it ended with {error!r}"
            )
        return failures
