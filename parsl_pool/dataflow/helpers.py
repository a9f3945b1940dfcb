"""Threads of the user's process that run the user's code for the kernel: join apps, retry handlers, memo keys.

The threads that bring results must never run it: it may wait for such a result.
"""

from __future__ import annotations

import heapq
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from time import monotonic

from parsl_pool.loggers import careful_logger

log = careful_logger("parsl_pool.dataflow")

Job = Callable[[], object]


class Helpers:
    """A few threads, started when they are first needed."""

    def __init__(self, max_threads: int, name: str) -> None:
        self._max_threads, self._name = max_threads, name
        self._lock = threading.Lock()  # guards _threads and _timer
        self._threads: ThreadPoolExecutor | None = None
        self._timer: Timer | None = None
        self._local = threading.local()  # .is_helper

    def run(self, job: Job) -> None:
        """Have it run, as soon as a thread is free. What it raises is logged."""
        with self._lock:
            if self._threads is None:
                self._threads = ThreadPoolExecutor(self._max_threads, f"parsl-pool-helper-{self._name}")
            self._threads.submit(self._run, job)

    def run_later(self, delay_s: float, job: Job) -> None:
        """Have it run after a while."""
        with self._lock:
            if self._timer is None:
                self._timer = Timer(f"parsl-pool-timer-{self._name}")
            self._timer.call_at(monotonic() + delay_s, lambda: self.run(job))

    def is_one(self) -> bool:
        """True in one of these threads."""
        return getattr(self._local, "is_helper", False)

    def disown(self) -> None:
        """In a forked child: the threads are the parent's."""
        self._lock._at_fork_reinit()  # type: ignore[attr-defined]  # private, and made for that
        self._threads = self._timer = None

    def _run(self, job: Job) -> None:
        self._local.is_helper = True
        try:
            job()
        except BaseException:  # of our own, then: jobs deal with what the user's code raises
            log.exception("an error in a helper thread of pool %s", self._name)

    def close(self, wait: bool) -> None:
        """End the threads, when they have done what they have begun.

        Args:
            wait: until then. Not where they may wait for the caller: in a thread that brings results.
        """
        with self._lock:
            threads, self._threads = self._threads, None
            timer, self._timer = self._timer, None
        if timer is not None:
            timer.close()
        if threads is not None:
            threads.shutdown(wait=wait and not self.is_one())


class Timer:
    """One thread that calls functions at given times. They must be quick."""

    def __init__(self, name: str) -> None:
        self._condition = threading.Condition()  # guards what follows
        self._heap: list[tuple[float, int, Job]] = []
        self._numbers = count()
        self._closed = False
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def call_at(self, moment: float, job: Job) -> None:
        """Call it at that `time.monotonic()`, or at once if that is over."""
        with self._condition:
            heapq.heappush(self._heap, (moment, next(self._numbers), job))
            self._condition.notify()

    def close(self) -> None:
        """End the thread; what is still to be called will not be."""
        with self._condition:
            self._closed = True
            self._condition.notify()
        if self._thread is not threading.current_thread():
            self._thread.join()

    def _run(self) -> None:
        while (job := self._next()) is not None:
            job()

    def _next(self) -> Job | None:
        with self._condition:
            while not self._closed:
                left = self._heap[0][0] - monotonic() if self._heap else None
                if left is not None and left <= 0:
                    return heapq.heappop(self._heap)[2]
                self._condition.wait(left)
            return None
