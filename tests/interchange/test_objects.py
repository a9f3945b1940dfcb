"""Objects between interchange and managers: asked for once, in parts within a window, and let go of."""

import os
from collections.abc import Callable, Iterator
from typing import Any, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from parsl_pool.errors import BadMessage
from parsl_pool.interchange import object_transfer, shared_memory, wire
from parsl_pool.interchange.node_objects import NodeObjects
from parsl_pool.interchange.object_desk import ObjectDesk
from parsl_pool.interchange.object_records import DropObjects, Object, ObjectPart, ObjectTaken, WantObject
from parsl_pool.interchange.object_transfer import Inflow, Outflow
from parsl_pool.interchange.worker_handle import WorkerHandle

pytestmark = pytest.mark.timeout(60)

SIZE = 3 * object_transfer.WINDOW + 17


@pytest.fixture
def memory() -> Iterator[int]:
    fd = shared_memory.create(SIZE, "object")
    os.pwrite(fd, b"begin", 0)
    os.pwrite(fd, b"end", SIZE - 3)
    yield fd
    os.close(fd)


def parts_of(sent: list[Any]) -> list[ObjectPart]:
    return [record for record in sent if isinstance(record, ObjectPart)]


def test_no_more_is_under_way_than_the_window(memory: int) -> None:
    sent: list[Any] = []
    flow = Outflow("k", memory, SIZE, sent.append)
    assert sent[0] == Object("k", SIZE, "")
    taken, inflow = 0, Inflow(SIZE)
    while True:
        parts = parts_of(sent)
        assert sum(len(part.data) for part in parts) - taken <= object_transfer.WINDOW
        part = next(part for part in parts if part.position == taken)
        assert len(part.data) <= object_transfer.PART
        taken += len(part.data)
        is_whole = inflow.take(part)
        assert flow.taken(taken) == is_whole == (taken == SIZE)
        if is_whole:
            break
    assert os.pread(inflow.fd, 5, 0) == b"begin" and os.pread(inflow.fd, 9, SIZE - 3) == b"end"
    inflow.close()


@settings(max_examples=50, deadline=None)
@given(st.integers(-5, 40), st.binary(max_size=40))
def test_a_part_that_is_not_the_next_one_is_refused(position: int, data: bytes) -> None:
    inflow = Inflow(30)
    try:
        if position == 0 and 0 < len(data) <= 30:
            assert inflow.take(ObjectPart("k", 0, data)) == (len(data) == 30)
        else:
            with pytest.raises(BadMessage):
                inflow.take(ObjectPart("k", position, data))
    finally:
        inflow.close()


def test_what_was_not_sent_can_t_have_arrived(memory: int) -> None:
    flow = Outflow("k", memory, SIZE, lambda record: None)
    for position in (-1, object_transfer.WINDOW + 1, SIZE):
        with pytest.raises(BadMessage):
            flow.taken(position)


def test_memory_that_is_shorter_than_it_is_said_to_be_is_an_error(memory: int) -> None:
    sent: list[Any] = []
    flow = Outflow("k", memory, 2 * SIZE, sent.append)
    with pytest.raises(OSError, match="its memory has"):
        for record in sent:  # which grows meanwhile
            if isinstance(record, ObjectPart):
                flow.taken(record.position + len(record.data))


class Worker:
    """Who has been given what."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.got: list[Any] = []


class Node:
    """A node's objects, and its workers."""

    def __init__(self, report: Callable[[Any], None]) -> None:
        self.workers = {number: Worker(number) for number in (1, 2, 3)}
        self.objects = NodeObjects(cast("dict[int, WorkerHandle]", self.workers), self._put, report)

    def _put(self, worker: Any, frame: bytes, descriptors: list[int]) -> None:
        _, kind, count = wire.HEAD.unpack_from(frame)
        assert count == len(descriptors)
        record = wire.decode(kind, frame[wire.HEAD.size :])
        worker.got.append((record, [os.pread(fd, 5, 0) for fd in descriptors]))
        for fd in descriptors:
            os.close(fd)

    def want(self, worker: int, key: str = "k") -> None:
        assert self.objects.heard(cast("WorkerHandle", self.workers[worker]), WantObject(key, 0))


def test_a_node_asks_once_and_gives_it_to_all(memory: int) -> None:
    asked: list[Any] = []
    node = Node(asked.append)
    node.want(1)
    node.want(2)
    assert asked == [WantObject("k", 0)]
    node.objects.came(Object("k", SIZE, ""), [os.dup(memory)])
    node.want(3)
    assert asked == [WantObject("k", 0)]
    answer = (Object("k", SIZE, ""), [b"begin"])
    assert [worker.got for worker in node.workers.values()] == [[answer]] * 3
    node.objects.ask_again()
    assert asked[1:] == [ObjectTaken("k", SIZE)]
    node.objects.came(DropObjects(["k", "unknown"]), [])
    told: tuple[Any, list[bytes]] = (DropObjects(["k", "unknown"]), [])
    assert [worker.got[1:] for worker in node.workers.values()] == [[told]] * 3


def test_what_is_dropped_or_absent_is_an_answer_to_all_who_wait() -> None:
    asked: list[Any] = []
    node = Node(asked.append)
    node.want(1, "one")
    node.want(2, "two")
    node.objects.came(Object("one", 0, "its reason"), [])
    node.objects.came(DropObjects(["two"]), [])
    assert node.workers[1].got == [(Object("one", 0, "its reason"), [])]
    assert node.workers[2].got == [(Object("two", 0, "its last Ref is gone"), [])]
    with pytest.raises(BadMessage):
        node.objects.came(Object("one", 5, ""), [])  # nobody waits any more


def test_what_a_connection_has_lost_is_asked_for_again() -> None:
    asked: list[Any] = []
    node = Node(asked.append)
    node.want(1)
    node.objects.came(Object("k", 10, ""), [])
    node.objects.came(ObjectPart("k", 0, b"begin"), [])
    assert asked == [WantObject("k", 0), ObjectTaken("k", 5)]
    node.objects.ask_again()
    assert asked[2:] == [WantObject("k", 0)]
    node.objects.came(ObjectPart("k", 5, b"other"), [])  # of the old one
    node.objects.came(Object("k", 10, ""), [])
    node.objects.came(ObjectPart("k", 0, b"beginother"), [])
    assert node.workers[1].got == [(Object("k", 10, ""), [b"begin"])]
    node.objects.came(DropObjects(["k"]), [])


class Door:
    """Managers of other hosts: what is sent to each."""

    def __init__(self) -> None:
        self.sent: list[tuple[str, Any]] = []

    def send(self, name: str, record: Any) -> None:
        self.sent.append((name, record))

    def broadcast(self, record: Any) -> None:
        self.sent.append(("all", record))

    def lend_object(self, name: str, record: Object, fd: int) -> bool:
        return False

    def to(self, name: str) -> list[Any]:
        return [type(record) for who, record in self.sent if who == name]


def test_the_client_is_asked_once_for_all_managers(memory: int) -> None:
    told: list[Any] = []
    desk, door = ObjectDesk(told.append, lambda text: None), Door()
    desk.door = door
    for name in ("one", "two", "gone"):
        desk.from_manager(name, WantObject("k", 0))
    assert told == [WantObject("k", 0)]
    desk.forget("gone")
    desk.from_client(Object("k", SIZE, ""), [os.dup(memory)])
    window = [ObjectPart] * (object_transfer.WINDOW // object_transfer.PART)
    assert door.to("one") == door.to("two") == [Object, *window] and not door.to("gone")
    desk.from_manager("one", ObjectTaken("k", object_transfer.PART))
    assert len(door.to("one")) == len(window) + 2
    desk.from_manager("three", WantObject("k", 0))
    assert told == [WantObject("k", 0)] and Object in door.to("three")
    desk.from_manager("four", ObjectTaken("other", 7))  # it has that from an interchange that is no more
    assert told[1:] == [ObjectTaken("other", 7)]
    desk.from_client(DropObjects(["k"]), [])
    assert door.sent[-1] == ("all", DropObjects(["k"]))
    with pytest.raises(BadMessage):
        desk.from_client(Object("k", 5, ""), [])
