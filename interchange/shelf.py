"""The functions that a manager has been sent, and the workers that wait for one that has not come."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from parsl_pool.interchange import wire
from parsl_pool.interchange.worker_handle import WorkerHandle


class Shelf:
    """Sends each worker what it asks for. Belongs to the manager's loop."""

    def __init__(self, workers: Mapping[int, WorkerHandle], put: Callable[[WorkerHandle, bytes], None]) -> None:
        self._workers, self._put = workers, put
        self._functions: dict[int, bytes] = {}
        self._wanted: dict[int, list[int]] = {}  # function that has not come -> workers that wait for it

    def add(self, record: wire.Function) -> None:
        """It has come."""
        self._functions[record.number] = record.data
        for worker in self._wanted.pop(record.number, ()):
            if worker in self._workers:
                self._send(self._workers[worker], record)

    def give(self, worker: WorkerHandle, number: int) -> None:
        """A worker needs it."""
        data = self._functions.get(number)
        if data is not None:
            self._send(worker, wire.Function(number, data))
        else:
            self._wanted.setdefault(number, []).append(worker.number)

    def forget(self, numbers: list[int]) -> None:
        """They will not be named again."""
        for number in numbers:
            self._functions.pop(number, None)
        frame = wire.frame(wire.Forget(numbers))
        for worker in self._workers.values():
            worker.functions.difference_update(numbers)
            self._put(worker, frame)

    def _send(self, worker: WorkerHandle, record: wire.Function) -> None:
        worker.functions.add(record.number)
        self._put(worker, wire.frame(record))
