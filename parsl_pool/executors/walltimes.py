"""Walltimes of tasks in threads. A thread can't be stopped: what can be done is to fail the future at its time, and to
end the shell commands that the task has started."""

from __future__ import annotations

import heapq
import threading
from collections.abc import Callable
from itertools import count
from time import monotonic
from typing import Any, NamedTuple

from parsl_pool.futures import AppFuture
from parsl_pool.interchange.shell import Children, children_of_this_thread

_FEW = 64


class _Limit(NamedTuple):
    """A try that is under way."""

    moment: float
    future: AppFuture[Any]
    children: Children


class Walltimes:
    """Those of one executor: one thread for all, from the first task that has one on."""

    def __init__(self, name: str, expired: Callable[[AppFuture[Any]], None]) -> None:
        """expired: is called when a task's time is over."""
        self._name, self._expired = name, expired
        self._condition = threading.Condition()  # guards what follows
        self._limits: dict[int, _Limit] = {}
        self._heap: list[tuple[float, int]] = []  # when, and which: perhaps one that has ended
        self._numbers = count()
        self._thread: threading.Thread | None = None
        self._closed = False

    def begin(self, future: AppFuture[Any], seconds: float) -> int:
        """A try begins in this thread. Its number, for `end`."""
        children = Children()
        moment = monotonic() + seconds
        with self._condition:
            number = next(self._numbers)
            self._limits[number] = _Limit(moment, future, children)
            heapq.heappush(self._heap, (moment, number))
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name=self._name, daemon=True)
                self._thread.start()
            elif self._heap[0][1] == number:
                self._condition.notify()
        children_of_this_thread.are = children
        return number

    def end(self, number: int) -> bool:
        """It has ended. False if that was too late."""
        children_of_this_thread.are = None
        with self._condition:
            in_time = self._limits.pop(number, None) is not None
            if len(self._heap) > 2 * len(self._limits) + _FEW:  # long limits of short tasks
                self._heap = [(limit.moment, number) for number, limit in self._limits.items()]
                heapq.heapify(self._heap)
        return in_time

    def close(self) -> None:
        """End the thread: no task is left."""
        with self._condition:
            thread, self._thread = self._thread, None
            self._closed = True
            self._condition.notify()
        if thread is not None and thread is not threading.current_thread():
            thread.join()

    def _run(self) -> None:
        while (limit := self._next()) is not None:
            limit.children.kill()
            self._expired(limit.future)
            del limit

    def _next(self) -> _Limit | None:
        with self._condition:
            while not self._closed:
                left = self._heap[0][0] - monotonic() if self._heap else None
                if left is None or left > 0:
                    self._condition.wait(left)
                    continue
                limit = self._limits.pop(heapq.heappop(self._heap)[1], None)
                if limit is not None:
                    return limit
            return None
