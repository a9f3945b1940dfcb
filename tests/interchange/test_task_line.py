"""What a task's line sends and receives, in this process. Lines of real workers are tested through the pool."""

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from parsl_pool.interchange import serialize, wire
from parsl_pool.interchange.page import HEARD, SAID, TASK
from parsl_pool.interchange.task_line import TaskLine
from tests.interchange.ring import Ring, ring

FOR_TASK = wire.KIND[wire.ForTask]


@contextmanager
def line_of(task: int) -> Iterator[tuple[TaskLine, Ring]]:
    """The line of a worker that is at this task."""
    with ring() as it:
        it.page.words[TASK] = task
        yield TaskLine(it.worker), it


def said(it: Ring) -> list[tuple[wire.FromTask, list[int]]]:
    found = []
    for kind, body, fds in it.stream.receive():
        record = wire.decode(kind, body)
        assert isinstance(record, wire.FromTask)
        found.append((record, fds))
    return found


def tell(it: Ring, *records: wire.Record) -> None:
    for record in records:
        it.stream.put(wire.frame(record))
    assert it.stream.flush()


def test_what_a_task_says_has_its_number_and_is_counted() -> None:
    with line_of(7) as (line, it):
        line.send("progress", b"half")
        line.send("progress")
        assert [record for record, _ in said(it)] == [
            wire.FromTask(7, "progress", b"half"), wire.FromTask(7, "progress", b""),
        ]  # fmt: skip
        assert it.page.words[SAID] == 2


def test_between_two_tasks_nothing_is_said() -> None:
    with line_of(0) as (line, it):
        line.send("progress", b"half")
        it.worker._flush(idle=True)
        assert [kind for kind, _, _ in it.stream.receive()] == [wire.KIND[wire.Flush]]
        assert it.page.words[SAID] == 0


def test_a_large_body_goes_through_shared_memory() -> None:
    with line_of(7) as (line, it):
        line.send("state", [b"x" * serialize.LARGE, b"y"])
        ((record, (fd,)),) = said(it)
        assert record == wire.FromTask(7, "state", b"")
        assert bytes(serialize.from_shared_memory(fd)) == b"x" * serialize.LARGE + b"y"


def test_without_shared_memory_it_goes_through_the_socket(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_more(payload: Any, label: str) -> tuple[bytes, int]:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(serialize, "to_shared_memory", no_more)
    with line_of(7) as (line, it):
        line.send("state", bytes(serialize.LARGE))
        ((record, fds),) = said(it)
        assert record.body == bytes(serialize.LARGE) and not fds


def test_a_task_waits_while_too_much_is_on_the_way() -> None:
    with line_of(7) as (line, it):
        while line.has_room():
            line.send("progress")
        sent = it.page.words[SAID]
        assert 100 < sent < 1000
        thread = threading.Thread(target=line.send, args=("progress",))
        thread.start()
        thread.join(0.05)
        assert thread.is_alive() and it.page.words[SAID] == sent
        it.page.words[HEARD] = 1
        thread.join(10)
        assert not thread.is_alive() and it.page.words[SAID] == sent + 1
        it.page.words[HEARD] = sent + 1
        assert line.has_room()


def test_two_large_bodies_may_be_on_the_way() -> None:
    with line_of(7) as (line, it):
        for _ in range(20):
            it.page.words[HEARD] = max(0, it.page.words[SAID] - 1)
            line.send("state", bytes(serialize.LARGE))
            for _, fds in said(it):
                for fd in fds:
                    os.close(fd)
        assert not line.has_room()


def test_a_task_that_waits_gets_what_is_for_it_and_leaves_the_rest() -> None:
    with line_of(7) as (line, it):
        tell(
            it, wire.ForTask(6, "answer", b"late"), wire.Forget([1]), wire.ForTask(7, "other", b"1"),
            wire.ForTask(7, "answer", b"2"), wire.Stop(0),
        )  # fmt: skip
        assert line.receive("answer", 10) == b"2"
        assert line.receive("answer", 0.01) is None
        assert line.receive("other", 0) == b"1"
        kinds = [it.worker._connection.next()[0] for _ in range(2)]
        assert kinds == [wire.KIND[wire.Forget], wire.KIND[wire.Stop]]


def test_what_came_while_the_task_was_prepared_is_not_lost() -> None:
    with line_of(7) as (line, it):
        it.worker.for_task.append(wire.encode(wire.ForTask(7, "answer", b"early")))
        assert line.receive("answer", 0) == b"early"


def test_what_is_for_a_task_that_is_over_is_dropped() -> None:
    with line_of(7) as (line, it):
        tell(it, wire.ForTask(7, "answer", b"1"), wire.ForTask(7, "other", b"2"))
        assert line.receive("answer", 10) == b"1"
        it.page.words[TASK] = 8
        assert line.receive("other", 0) is None
        it.worker._handle(FOR_TASK, wire.encode(wire.ForTask(7, "answer", b"")), [])
        it.page.words[TASK] = 7
        assert line.receive("other", 0) is None


def test_a_thread_that_a_task_left_behind_waits_no_longer() -> None:
    with line_of(7) as (line, it):
        answers: list[bytes | None] = []
        thread = threading.Thread(target=lambda: answers.append(line.receive("answer")))
        thread.start()
        it.page.words[TASK] = 0
        thread.join(10)
        assert answers == [None]


def test_nobody_is_there_to_talk_to() -> None:
    with line_of(7) as (line, it):
        it.stream.close()
        line.send("progress", b"half")
        assert line.receive("answer", 10) is None
