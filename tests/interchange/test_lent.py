"""Memory by name: what a process says that it lends is looked at before it is opened."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from parsl_pool import portable
from parsl_pool.errors import BadMessage
from parsl_pool.interchange import columns, from_manager, lent, shared_memory, wire
from parsl_pool.interchange.task_messages import TaskMessage

pytestmark = pytest.mark.skipif(not portable.has_proc(), reason="memory has names in /proc only")


@pytest.fixture
def memory() -> Iterator[int]:
    fd = shared_memory.create(5, "test")
    os.pwrite(fd, b"hello", 0)
    yield fd
    os.close(fd)


def test_what_is_lent_is_opened_by_its_name(memory: int) -> None:
    kind, body, names = lent.split(lent.message(wire.RESULTS, b"body", [memory]))
    assert (kind, body, names) == (wire.RESULTS, b"body", [(os.getpid(), memory)])
    (opened,) = lent.open_named(names)
    assert opened != memory and os.pread(opened, 10, 0) == b"hello"
    os.pwrite(opened, b"j", 0)  # memory for a result is to be written to
    assert os.pread(memory, 10, 0) == b"jello"
    assert not os.get_inheritable(opened)
    os.close(opened)


def test_what_a_task_says_may_be_lent_and_nothing_else_with_it(memory: int) -> None:
    said = wire.encode(wire.FromTask(7, "state", b""))
    kind = wire.KIND[wire.FromTask]
    data = lent.message(kind, said, [memory])
    message = from_manager.with_memory(from_manager.decode(data), lent.split(data)[2], "host")
    assert isinstance(message, TaskMessage) and message.descriptors
    assert os.pread(message.descriptors[0], 10, 0) == b"hello"
    message.drop()
    before = os.listdir("/proc/self/fd")
    for body, lending in ((said, [memory, memory]), (wire.encode(wire.FromTask(7, "state", b"x")), [memory])):
        bad = lent.message(kind, body, lending)
        with pytest.raises(BadMessage, match="more than its body"):
            from_manager.with_memory(from_manager.decode(bad), lent.split(bad)[2], "host")
    with pytest.raises(BadMessage, match="can't be read"):
        from_manager.with_memory(from_manager.decode(data), [(os.getpid(), 10_000)], "host")
    assert os.listdir("/proc/self/fd") == before


def test_an_ordinary_message_lends_nothing() -> None:
    assert lent.split(lent.message(wire.KIND[wire.Ping], b"", [])) == (wire.KIND[wire.Ping], b"", [])


@pytest.mark.parametrize(
    "data",
    [
        bytes((wire.RESULTS, 1)) + bytes(7),
        bytes((wire.RESULTS, 3)) + bytes(24),
        bytes((wire.KIND[wire.Ping], 1)) + bytes(8),
        bytes((wire.TASKS, 255)),
    ],
)
def test_names_that_are_none(data: bytes) -> None:
    with pytest.raises(BadMessage, match="names of memory"):
        lent.split(data)


def test_nothing_but_memory_of_a_pool_is_opened(memory: int, tmp_path: Path) -> None:
    """The manager of another host may say what it likes: no file of the user's, nor a socket, is read for it."""
    before = os.listdir("/proc/self/fd")
    with open(tmp_path / "secret", "w") as secret:
        for fd in (secret.fileno(), 0, 10_000):
            with pytest.raises(OSError):
                lent.open_named([(os.getpid(), memory), (os.getpid(), fd)])
    with pytest.raises(OSError):
        lent.open_named([(0, memory)])
    assert os.listdir("/proc/self/fd") == before


def test_a_task_whose_memory_is_gone_may_run_again() -> None:
    results = lent.lost(7, "here", "no such file")
    assert results.task_ids() == (7,)
    task, size, status = columns.RECORD.unpack_from(results.records)
    assert (task, status) == (7, wire.LOST) and size == len(results.records) - columns.RECORD.size
    facts = wire.decode(wire.KIND[wire.Facts], results.records[columns.RECORD.size :])
    assert isinstance(facts, wire.Facts)
    assert dict(zip(facts.names, facts.values))["cause"] == "place"
