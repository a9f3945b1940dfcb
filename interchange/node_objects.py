"""The objects of a node: its manager fetches each one once, for all its workers, and keeps it until it is dropped."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping

from parsl_pool.errors import BadMessage
from parsl_pool.interchange import shortage, wire
from parsl_pool.interchange.object_records import DropObjects, Object, ObjectPart, ObjectTaken, WantObject
from parsl_pool.interchange.object_transfer import Inflow
from parsl_pool.interchange.worker_handle import WorkerHandle

Put = Callable[[WorkerHandle, bytes, list[int]], None]


class NodeObjects:
    """Belongs to the manager's loop."""

    def __init__(
        self, workers: Mapping[int, WorkerHandle], put: Put, report: Callable[[WantObject | ObjectTaken], None]
    ) -> None:
        self._workers, self._put, self._report = workers, put, report
        self._held: dict[str, tuple[int, int]] = {}  # descriptor and size
        self._given: dict[str, set[int]] = {}  # who has it mapped
        self._wanted: dict[str, list[int]] = {}  # what was asked for, and has not come -> workers that wait for it
        self._inflows: dict[str, Inflow] = {}

    # -- workers

    def heard(self, worker: WorkerHandle, record: wire.Record) -> bool:
        """A message of a worker's, if it is about an object; False if it isn't."""
        if not isinstance(record, WantObject):
            return False
        self._want(worker, record.key)
        return True

    def _want(self, worker: WorkerHandle, key: str) -> None:
        """A worker needs an object."""
        if key in self._held:
            self._give(worker, key)
        elif key in self._wanted:
            self._wanted[key].append(worker.number)
        else:
            self._wanted[key] = [worker.number]
            self._report(WantObject(key, 0))

    def _give(self, worker: WorkerHandle, key: str) -> None:
        fd, size = self._held[key]
        try:
            copy = os.dup(fd)
        except OSError as problem:
            self._refuse(worker, key, f"its node: {shortage.describe(problem)}")
            return
        self._given.setdefault(key, set()).add(worker.number)
        self._put(worker, wire.frame(Object(key, size, ""), 1), [copy])

    def _refuse(self, worker: WorkerHandle, key: str, reason: str) -> None:
        self._put(worker, wire.frame(Object(key, 0, reason)), [])

    def _waiting(self, key: str) -> list[WorkerHandle]:
        """Those that still wait for it."""
        return [self._workers[number] for number in self._wanted.pop(key, ()) if number in self._workers]

    # -- from where objects come

    def came(self, record: wire.Record, descriptors: list[int]) -> None:
        """A message about an object. Raises BadMessage; the descriptors are the caller's then."""
        if isinstance(record, Object):
            self._answered(record, descriptors)
        elif isinstance(record, ObjectPart):
            self._part(record)
        elif isinstance(record, DropObjects):
            self._drop(record)
        else:
            raise BadMessage(f"a {type(record).__name__}")

    def _answered(self, record: Object, descriptors: list[int]) -> None:
        if record.key not in self._wanted:
            raise BadMessage("an object that nobody waits for")
        if descriptors:
            self._hold(record.key, descriptors[0], record.size)
        elif record.reason:
            self._end_inflow(record.key)
            self._absent(record.key, record.reason)
        else:
            self._end_inflow(record.key)
            try:
                self._inflows[record.key] = Inflow(record.size)
            except OSError as problem:
                self._absent(record.key, f"there is no room for it on its node: {shortage.describe(problem)}")

    def by_parts(self, key: str) -> None:
        """Memory was lent that can't be opened here."""
        if key in self._wanted:
            self._report(WantObject(key, 1))

    def _part(self, record: ObjectPart) -> None:
        inflow = self._inflows.get(record.key)
        if inflow is None:
            return  # it was dropped meanwhile
        try:
            is_whole = inflow.take(record)
        except OSError as problem:
            self._end_inflow(record.key)
            self._absent(record.key, f"there is no room for it on its node: {shortage.describe(problem)}")
            return
        self._report(ObjectTaken(record.key, record.position + len(record.data)))
        if is_whole:
            del self._inflows[record.key]
            self._hold(record.key, inflow.fd, inflow.size)

    def _hold(self, key: str, fd: int, size: int) -> None:
        self._held[key] = fd, size
        for worker in self._waiting(key):
            self._give(worker, key)

    def _absent(self, key: str, reason: str) -> None:
        for worker in self._waiting(key):
            self._refuse(worker, key, reason)

    def _end_inflow(self, key: str) -> None:
        inflow = self._inflows.pop(key, None)
        if inflow is not None:
            inflow.close()

    def _drop(self, record: DropObjects) -> None:
        users: set[int] = set()
        for key in record.keys:
            self._end_inflow(key)
            self._absent(key, "its last Ref is gone")
            users |= self._given.pop(key, set())
            held = self._held.pop(key, None)
            if held is not None:
                os.close(held[0])
        for number in users:
            if number in self._workers:
                self._put(self._workers[number], wire.frame(record), [])

    def ask_again(self) -> None:
        """There is another connection, perhaps another interchange: what was under way by the last one has not come."""
        for key, (_, size) in self._held.items():
            self._report(ObjectTaken(key, size))  # we may not have heard that it was dropped
        for key in self._wanted:
            self._end_inflow(key)
            self._report(WantObject(key, 0))
