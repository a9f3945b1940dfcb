"""Futures and what ends them: the client's own table of tries, without processes."""

from collections.abc import Iterable
from pickle import dumps
from typing import Any

from parsl_pool.dataflow.record import Options
from parsl_pool.executors.high_throughput.tries import Tries
from parsl_pool.futures import PENDING, AppFuture
from parsl_pool.interchange import wire
from tests.interchange.frames import results


class Client:
    """Owner of its futures, as a Link is: whoever takes a future out of the table decides its end."""

    def __init__(self, options: Options | None = None) -> None:
        self.resent: list[AppFuture[Any]] = []
        self.tries = Tries(options or Options(), self._send_again, lambda number: f"function {number}")
        self.killed: list[AppFuture[Any]] = []
        self._next = 1

    def future(self) -> AppFuture[Any]:
        """One more task."""
        future: AppFuture[Any] = AppFuture()
        future._owner = self
        future._state = PENDING
        self._enter(future)
        return future

    def futures(self, count: int) -> list[AppFuture[Any]]:
        return [self.future() for _ in range(count)]

    def _enter(self, future: AppFuture[Any]) -> None:
        future._tid = self._next
        self._next += 1
        self.tries.table[future._tid] = future

    def _send_again(self, future: AppFuture[Any]) -> None:
        self.resent.append(future)
        self._enter(future)

    # -- the Owner

    def cancel(self, future: AppFuture[Any]) -> bool:
        return self.tries.table.pop(future._tid, None) is not None

    def kill(self, future: AppFuture[Any]) -> bool:
        self.killed.append(future)
        return True

    def is_running(self, future: AppFuture[Any]) -> bool:
        return False

    def name_of(self, future: AppFuture[Any]) -> str:
        return "fit"

    def pump(self, future: AppFuture[Any], deadline: float | None) -> bool:
        return False

    def failure_seen(self, future: AppFuture[Any]) -> None:
        self.tries.seen += 1

    # -- what comes from the interchange

    def burst(self, futures: Iterable[AppFuture[Any]], value: Any = "value") -> None:
        """One frame with a result for each."""
        ids = [future._tid for future in futures]
        if ids:
            self.frame(ids, wire.OK, dumps(value))

    def frame(self, ids: list[int], status: int, payload: bytes, descriptors: list[int] | None = None) -> None:
        self.tries.results(results(ids, status, payload).encode(), descriptors or [])
