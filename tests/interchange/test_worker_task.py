"""The running task of a worker, in this process: what it withholds, when it should stop, what it was told."""

from collections.abc import Iterator
from contextlib import contextmanager
from pickle import dumps
from time import monotonic_ns

import pytest

from parsl_pool import task
from parsl_pool.interchange import resumed, running_task, serialize, wire, worker
from parsl_pool.interchange.page import ALL, HEARD, SAID, SINCE, STOP, TASK
from parsl_pool.interchange.task_face import LAST_S, PROGRESS, unpack_progress
from tests.interchange.frames import tasks
from tests.interchange.ring import Ring, ring


@contextmanager
def here(number: int = 7) -> Iterator[Ring]:
    """This process is a worker, which is at that task."""
    with ring() as it:
        it.page.words[TASK] = number
        worker.here = it.worker
        try:
            yield it
        finally:
            worker.here = worker.before_end = None
            worker._endings.clear()


def said(it: Ring) -> list[wire.FromTask]:
    records = [wire.decode(kind, body) for kind, body, _ in it.stream.receive()]
    return [record for record in records if isinstance(record, wire.FromTask)]


def progress_in(records: list[wire.FromTask]) -> list[tuple[int, float | None, str]]:
    opened = [(record.task, unpack_progress(record.body)) for record in records if record.topic == PROGRESS]
    return [(number, fraction, text) for number, (fraction, _, text) in opened]


def test_few_of_many_are_sent_and_the_last_one_at_the_end() -> None:
    with here() as it:
        for step in range(20_000):
            task.progress(step / 20_000, f"step {step}")
        first = progress_in(said(it))
        assert first[0] == (7, 0.0, "step 0") and 10 <= len(first) < 200
        assert worker.before_end is not None
        worker.before_end()
        assert progress_in(said(it)) == [(7, 19_999 / 20_000, "step 19999")]
        assert worker.before_end is None


def test_a_task_is_heard_at_once_whatever_the_last_one_has_said() -> None:
    with here() as it:
        for step in range(100):
            task.progress(step / 100)
        assert worker.before_end is not None
        worker.before_end()
        said(it)
        it.page.words[TASK] = 8
        task.progress(0.25, "the only one")
        assert progress_in(said(it)) == [(8, 0.25, "the only one")]


def test_the_last_one_is_said_before_the_result_is_there() -> None:
    def many() -> None:
        for step in range(100):
            task.progress(None, f"{step}")

    for payload in (dumps(()), dumps(([1] * 4000,)), serialize.join(serialize.dump_chunk([()], "it"))):
        with here() as it:
            it.worker._functions[1] = (lambda *args: many(), b"")
            it.worker._run_batch(tasks([5], payloads=[payload]).encode(), [])
            assert progress_in(said(it))[-1] == (5, None, "99")
            assert it.page.words[SAID] <= 12


def test_progress_never_waits() -> None:
    with here() as it:
        while (it_line := running_task.line_of_worker()).has_room():
            it_line.send("x")
        before = it.page.words[SAID]
        task.progress(0.5)
        assert it.page.words[SAID] == before
        it.page.words[HEARD] = before
        task.progress(0.6)
        assert it.page.words[SAID] == before + 1


def test_a_task_is_asked_to_stop_by_its_number_or_with_all() -> None:
    with here() as it:
        words = it.page.words
        assert not task.should_stop()
        for asked, stops in ((6, False), (7, True), (0, False), (ALL, True)):
            words[STOP] = asked
            assert task.should_stop() is stops
        words[TASK] = 0
        assert not task.should_stop(), "no task runs"


@pytest.mark.parametrize("limit_s, left_s, stops", [
    (10, 1.1, False), (10, 0.9, True), (3600, LAST_S + 1, False), (3600, LAST_S - 1, True), (10, -5, True),
])  # fmt: skip
def test_near_the_end_of_its_walltime_it_should_stop(limit_s: float, left_s: float, stops: bool) -> None:
    with here() as it:
        it.worker.walltime_ms = int(limit_s * 1000)
        it.page.words[SINCE] = monotonic_ns() - int((limit_s - left_s) * 1e9)
        assert task.should_stop() is stops


def test_a_task_knows_who_it_is() -> None:
    with here():
        assert (task.id, task.try_number, task.worker_rank, task.executor, task.run_id) == (7, 0, 0, "label", "run")
        assert running_task.environment() == {
            "PARSL_POOL_TASK_ID": "7", "PARSL_POOL_TRY_NUMBER": "0", "PARSL_POOL_RUN_ID": "run",
            "PARSL_POOL_EXECUTOR": "label",
        }  # fmt: skip


def test_a_later_try_is_told_of_those_before_it_and_the_next_task_is_not() -> None:
    seen = []

    def look() -> None:
        seen.append((task.id, task.try_number, task.restored("nothing")))

    state = serialize.dump_value({"epoch": 3}, "the state")
    told = b"".join([*resumed.head(3, 2, serialize.join(state)), dumps(())])
    with here() as it:
        it.worker._functions[1] = (look, b"")
        for number, payload in ((5, dumps(())), (6, told), (7, dumps(()))):
            it.worker._run_batch(tasks([number], payloads=[payload]).encode(), [])
    assert seen == [(5, 0, "nothing"), (3, 2, {"epoch": 3}), (7, 0, "nothing")]


@pytest.mark.parametrize("size", [10, 100_000])
def test_a_state_and_arguments_in_shared_memory(size: int) -> None:
    """Either may be large: the state and all else in one piece of memory, or the arguments alone."""
    seen = []
    state = serialize.join(serialize.dump_value(bytes(size), "the state"))
    arguments = serialize.join(serialize.dump_value((bytes(100_000),), "it"))
    head = resumed.head(3, 1, state)
    with here() as it:
        it.worker._functions[1] = (lambda given: seen.append((len(given), len(task.restored()))), b"")
        if size < serialize.LARGE:
            short, fd = serialize.to_shared_memory(arguments, "it")
            payload = b"".join([*head, short])
        else:
            payload, fd = serialize.to_shared_memory([*head, arguments], "it")
        it.worker._run_batch(tasks([5], payloads=[payload]).encode(), [fd])
    assert seen == [(100_000, size)]


def test_lines_for_the_log_that_come_too_fast_are_counted() -> None:
    with here() as it:
        for number in range(1000):
            task.log("line %d", number)
        lines = [record.body for record in said(it)]
        assert 100 <= len(lines) < 300 and lines[0] == b"\x14line 0"
        running_task.current()._may_log._left = 5.0  # type: ignore[attr-defined]  # a worker's has it
        task.log("later", level=40)
        (last,) = said(it)
        assert last.body.startswith(b"\x28later (") and b"before this one were left out" in last.body
