"""Which tasks workers have begun, and keeping them from beginning others: the client's side of the claims table."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import chain, count, filterfalse
from time import monotonic, sleep
from typing import Any

from parsl_pool.executors.high_throughput.tries import Tries
from parsl_pool.futures import AppFuture
from parsl_pool.interchange import shared_memory
from parsl_pool.interchange.page import CLAIM_SLOTS, CLAIMS_SIZE, ClaimsTable

_VERDICT_S = 0.005


class Claims:
    """The claims table of one link. Any thread may ask."""

    def __init__(self, tries: Tries, pump: Callable[[AppFuture[Any], float | None], bool]) -> None:
        self._tries, self._pump = tries, pump
        self._table: ClaimsTable | None = None  # while the link is open
        self.fd = -1
        self._path = ""
        self._withdrawn: list[list[int]] = []  # in this lap of task numbers
        self._withdrawn_before: list[list[int]] = []

    def open(self, path: str = "") -> None:
        """Make the table. path: under that name, where managers can't find it without."""
        self._path = path
        self.fd = shared_memory.create_named(path, CLAIMS_SIZE) if path else shared_memory.create(CLAIMS_SIZE, "claims")
        self._table = ClaimsTable(shared_memory.map_shared(self.fd, CLAIMS_SIZE))

    def close(self) -> None:
        """Let go of it."""
        table, self._table = self._table, None
        if table is not None:
            table.close()
            os.close(self.fd)
            if self._path:
                with suppress(FileNotFoundError):  # the run's directory may have gone before us
                    os.unlink(self._path)

    def disown(self) -> None:
        """In a forked child: the table is the parent's memory."""
        self._table = None

    def are_begun(self, tasks: list[int]) -> list[int]:
        """Those of these tasks that workers have begun, as far as the table tells."""
        table = self._table
        return [] if table is None else [task for task in tasks if table.is_claimed(task)]

    def withdraw(self, tasks: list[int]) -> set[int]:
        """Those of these lost tasks that no worker has begun, and none will, should one of them still live."""
        table = self._table
        if table is None:
            return set()
        withdrawn = table.cancel_all(tasks)
        self._withdrawn.append(withdrawn)
        return set(withdrawn)

    def _begin_lap(self) -> None:
        """A lap of task numbers begins: nobody is left who might come to what was withdrawn in the last but one."""
        before, self._withdrawn_before, self._withdrawn = self._withdrawn_before, self._withdrawn, []
        for tasks in before:
            self.forget(tasks)

    def ids(self) -> Iterator[int]:
        """Numbers for tries. In C throughout but at the start of a lap, as the threads that submit share it."""
        return chain.from_iterable(map(self._lap, count()))

    def _lap(self, number: int) -> Iterator[int]:
        """The numbers of one lap through the table. Those whose place a task has that is still under way are left
        out: such a task could no more be told to have begun."""
        self._begin_lap()
        first = number * CLAIM_SLOTS
        taken = {first + task % CLAIM_SLOTS for task in list(self._tries.table)}
        return filterfalse(taken.__contains__, range(max(1, first), first + CLAIM_SLOTS))

    def running(self) -> list[AppFuture[Any]]:
        """Futures of the tasks that workers have begun. O(tasks under way)."""
        futures = dict(self._tries.table)
        return [futures[task] for task in self.are_begun(list(futures))]

    def has_begun(self) -> bool:
        """True once any task has been begun, or there is none to begin."""
        tries = self._tries
        return bool(tries.finished or not tries.table or self.are_begun(list(tries.table)[:64]))

    def cancel(self, future: AppFuture[Any]) -> bool:
        """Keep a task from being begun, as `ClaimsTable.cancel` does. False if that can't be."""
        task, table = future._tid, self._table
        if self.fd < 0:
            return True  # there has never been a worker
        if table is None or table.is_claimed(task):
            return False
        if not table.cancel(task):
            self._await_verdict(future)
            return False
        return True

    def take_back(self, task: int) -> bool:
        """Keep a task from being begun, as `cancel`; but without waiting for the word of a worker that has just come
        to it: False then, and the worker may run it, or report it as cancelled."""
        return self._table is not None and self._table.cancel(task)

    def forget(self, tasks: list[int]) -> None:
        """No worker will come to these cancelled tasks any more. See `ClaimsTable.forget`."""
        table = self._table
        if table is not None:
            for task in tasks:
                table.forget(task)

    def _await_verdict(self, future: AppFuture[Any]) -> None:
        """A worker took the task while we cancelled it: it may have seen that, and will say so in a moment.

        Whoever asks looks at the future afterwards: it may have become cancelled.
        """
        deadline = monotonic() + _VERDICT_S
        while monotonic() < deadline and not future.done():
            if not self._pump(future, deadline):
                sleep(0.0005)
