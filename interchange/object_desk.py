"""Objects in the interchange: fetched from the client once each, and given to every manager that asks, once."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from typing import Any

from parsl_pool.errors import BadMessage
from parsl_pool.interchange import shortage, wire
from parsl_pool.interchange.node_objects import NodeObjects
from parsl_pool.interchange.object_records import DropObjects, Object, ObjectTaken, WantObject
from parsl_pool.interchange.object_transfer import Outflow


class ObjectDesk:
    """Belongs to the interchange's loop."""

    def __init__(self, tell: Callable[[wire.Record], None], log: Callable[[str], None]) -> None:
        self._tell, self._log = tell, log  # to the client; to a file
        self.inside: NodeObjects | None = None  # of the manager inside, or
        self.door: Any = None  # ManagersDoor, when managers are apart
        self._held: dict[str, tuple[int, int]] = {}  # descriptor and size
        self._wanted: dict[str, dict[str, bool]] = {}  # the client was asked -> managers, and who wants it in parts
        self._outflows: dict[tuple[str, str], Outflow] = {}

    def from_client(self, record: wire.Record, descriptors: list[int]) -> None:
        """A message about an object. Raises BadMessage; the descriptors are the caller's then."""
        if isinstance(record, Object):
            self._answered(record, descriptors)
        elif isinstance(record, DropObjects):
            self._drop(record)
        else:
            raise BadMessage(f"{type(record).__name__} is not for the interchange")

    def from_manager(self, name: str, record: wire.Record) -> None:
        """A message about an object. Raises BadMessage."""
        if isinstance(record, WantObject):
            if record.key in self._held:
                self._give(name, record.key, bool(record.in_parts))
            elif record.key in self._wanted:
                self._wanted[record.key][name] = bool(record.in_parts)
            else:
                self._wanted[record.key] = {name: bool(record.in_parts)}
                self._tell(record)
        elif isinstance(record, ObjectTaken):
            flow = self._outflows.get((name, record.key))
            if flow is None:
                self._tell(record)  # it has that from another interchange: does the client know of it still?
            else:
                self._go_on(name, record, flow)
        else:
            raise BadMessage(f"a {type(record).__name__} from a manager")

    def _go_on(self, name: str, record: ObjectTaken, flow: Outflow) -> None:
        try:
            if flow.taken(record.position):
                del self._outflows[name, record.key]
        except OSError as problem:
            del self._outflows[name, record.key]
            self._send(name, Object(record.key, 0, f"the interchange: {shortage.describe(problem)}"))

    def _answered(self, record: Object, descriptors: list[int]) -> None:
        if bool(descriptors) == bool(record.reason) or record.key in self._held:
            raise BadMessage("an Object that is none")
        if descriptors:
            self._held[record.key] = descriptors[0], record.size
        for name, in_parts in self._wanted.pop(record.key, {}).items():
            if descriptors:
                self._give(name, record.key, in_parts)
            else:
                self._send(name, record)

    def _give(self, name: str, key: str, in_parts: bool) -> None:
        fd, size = self._held[key]
        how = "in parts"
        try:
            if not in_parts and self._lend(name, Object(key, size, ""), fd):
                how = "as memory of this host"
            else:
                self._outflows[name, key] = Outflow(key, fd, size, partial(self._send, name))
        except OSError as problem:
            self._send(name, Object(key, 0, f"the interchange: {shortage.describe(problem)}"))
            return
        self._log(f"object {key}, {size} bytes, goes to manager {name} {how}")

    def _drop(self, record: DropObjects) -> None:
        for key in record.keys:
            self._wanted.pop(key, None)
            for where in [each for each in self._outflows if each[1] == key]:
                del self._outflows[where]
            held = self._held.pop(key, None)
            if held is not None:
                os.close(held[0])
        if self.inside is not None:
            self.inside.came(record, [])
        elif self.door is not None:
            self.door.broadcast(record)

    def _send(self, name: str, record: wire.Record) -> None:
        if self.inside is not None:
            self.inside.came(record, [])
        elif self.door is not None:
            self.door.send(name, record)

    def _lend(self, name: str, record: Object, fd: int) -> bool:
        """Give a manager an object in memory that it can open; False: it can open none of ours."""
        if self.inside is None:
            return bool(self.door.lend_object(name, record, fd))
        self.inside.came(record, [os.dup(fd)])
        return True

    def forget(self, name: str) -> None:
        """A manager is gone, or comes back by another connection: it will ask again."""
        for managers in self._wanted.values():
            managers.pop(name, None)
        for where in [each for each in self._outflows if each[0] == name]:
            del self._outflows[where]
