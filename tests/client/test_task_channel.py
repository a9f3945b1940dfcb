"""The channel between a running task and its client, through real processes."""

import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from parsl_pool import ParslPoolExecutor, task
from parsl_pool.interchange import wire
from parsl_pool.interchange.running_task import line_of_worker
from parsl_pool.interchange.serialize import LARGE
from parsl_pool.interchange.task_face import PROGRESS
from tests import leaks
from tests.eventually import eventually


@pytest.fixture(scope="module")
def pool(manager_inside: bool) -> Iterator[ParslPoolExecutor]:
    with leaks.keeping("the module's pool"), ParslPoolExecutor(2, manager_inside=manager_inside) as pool:
        pool.submit(abs, -1).result(60)
        yield pool


def channel_of(pool: ParslPoolExecutor) -> Any:
    return pool._backend.link.channel


def collect(pool: ParslPoolExecutor, topic: str = "x") -> list[tuple[int, bytes]]:
    """What tasks say of that topic from now on."""
    found: list[tuple[int, bytes]] = []
    channel_of(pool).on(topic, lambda future, number, body: found.append((future.tid, bytes(body))))
    return found


def say(*bodies: bytes, topic: str = "x") -> None:
    for body in bodies:
        line_of_worker().send(topic, body)


def say_many(count: int) -> int:
    for number in range(count):
        line_of_worker().send("x", b"%d" % number)
    return count


def wait_for(path: Path) -> None:
    while not path.exists():
        time.sleep(0.01)


def test_what_a_task_says_is_there_before_its_result_and_in_order(pool: ParslPoolExecutor) -> None:
    found = collect(pool)
    future = pool.submit(say, b"1", b"2" * LARGE, b"3")
    future.result(60)
    assert found == [(future.tid, b"1"), (future.tid, b"2" * LARGE), (future.tid, b"3")]


def test_of_many_short_tasks_too(pool: ParslPoolExecutor) -> None:
    found = collect(pool)
    futures = [pool.submit(say, b"%d" % number) for number in range(500)]
    for number, future in enumerate(futures):
        future.result(60)
        assert (future.tid, b"%d" % number) in found


def test_a_topic_that_nobody_knows_is_dropped(pool: ParslPoolExecutor) -> None:
    found = collect(pool)
    pool.submit(say, b"1" * LARGE, b"2", topic="unknown").result(60)
    pool.submit(say, b"3").result(60)
    assert [body for _, body in found] == [b"3"]


def test_a_handler_that_fails_costs_its_message(pool: ParslPoolExecutor, caplog: pytest.LogCaptureFixture) -> None:
    def fail(future: object, number: int, body: object) -> None:
        raise ValueError("not that")

    channel_of(pool).on("x", fail)
    assert pool.submit(say_many, 3).result(60) == 3
    assert "not that" in caplog.text
    assert pool.submit(abs, -1).result(60) == 1


def say_many_when(path: Path, count: int) -> int:
    wait_for(path)
    return say_many(count)


def test_a_task_that_says_much_waits_for_its_client(pool: ParslPoolExecutor, tmp_path: Path) -> None:
    """While callbacks hold up the thread that takes it, it does not pile up on the way."""
    is_held, goes_on, found = threading.Event(), threading.Event(), collect(pool)

    def hold_up(future: object) -> None:
        is_held.set()
        goes_on.wait(30)

    first = pool.submit(wait_for, tmp_path / "first")
    first.add_done_callback(hold_up)
    future = pool.submit(say_many_when, tmp_path / "second", 3000)
    eventually(lambda: first.running() and future.running())
    (tmp_path / "first").touch()
    assert is_held.wait(30)
    (tmp_path / "second").touch()
    time.sleep(0.2)
    assert future.running() and not future.done()
    goes_on.set()
    assert future.result(60) == 3000 and len(found) == 3000


def ask(question: bytes) -> bytes | None:
    line = line_of_worker()
    line.send("question", question)
    answer: bytes | None = line.receive("answer", 60)
    return answer


def answer_all(pool: ParslPoolExecutor) -> None:
    channel = channel_of(pool)
    channel.on("question", lambda future, number, body: channel.send(number, "answer", bytes(body).upper()))


def test_a_task_gets_its_answer(pool: ParslPoolExecutor) -> None:
    answer_all(pool)
    futures = [pool.submit(ask, b"a%d" % number) for number in range(20)]
    assert [future.result(60) for future in futures] == [b"A%d" % number for number in range(20)]


def ask_in_threads(count: int) -> int:
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(4) as threads:
        return sum(answer == b"A" for answer in threads.map(ask, [b"a"] * count))


def test_a_task_s_threads_get_an_answer_each(pool: ParslPoolExecutor) -> None:
    answer_all(pool)
    assert pool.submit(ask_in_threads, 40).result(60) == 40
    assert pool.submit(ask, b"b").result(60) == b"B"


def test_nothing_can_be_said_to_a_task_that_is_over(pool: ParslPoolExecutor) -> None:
    future = pool.submit(abs, -1)
    future.result(60)
    assert channel_of(pool).send(future.tid, "answer") is False


def test_what_comes_too_late_for_a_task_is_not_for_the_next_one(pool: ParslPoolExecutor) -> None:
    link = pool._backend.link
    future = pool.submit(abs, -1)
    future.result(60)
    for number in (future.tid, future.tid + 1_000_000):
        link.send(wire.ForTask(number, "answer", b"late"))
        link.send(wire.ForTask(number, wire.STOP, b""))
    answer_all(pool)
    assert pool.submit(ask, b"c").result(60) == b"C"


def fork_and_say() -> int:
    pid = os.fork()
    if pid == 0:
        assert line_of_worker() is None
        os._exit(7)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def test_a_child_that_a_task_forks_has_no_line(pool: ParslPoolExecutor) -> None:
    assert pool.submit(fork_and_say).result(60) == 7


def test_in_the_client_there_is_no_line() -> None:
    assert line_of_worker() is None


def say_at_the_end() -> None:
    line_of_worker().send("x", bytes(LARGE))
    os._exit(3)


def test_descriptors_are_closed_wherever_a_message_ends(pool: ParslPoolExecutor) -> None:
    found = collect(pool)
    for _ in range(3):
        pool.submit(say, *[bytes(LARGE)] * 5).result(60)
        pool.submit(say, *[bytes(LARGE)] * 5, topic="unknown").result(60)
        pool.submit(say_at_the_end).exception(60)
    eventually(lambda: len(found) == 18)


# ---- what `parsl_pool.task` makes of it


def count(steps: int) -> int:
    for step in range(steps):
        task.progress(step / steps, f"step {step}")
    task.progress(1, "done")
    return steps


def test_a_flood_of_progress_is_a_few_messages(pool: ParslPoolExecutor) -> None:
    channel, messages = channel_of(pool), list[bytes]()
    tell = channel._handlers[PROGRESS]

    def count_them(future: Any, number: int, body: bytes) -> None:
        messages.append(body)
        tell(future, number, body)

    channel.on(PROGRESS, count_them)
    try:
        began = time.monotonic()
        future = pool.submit(count, 50_000)
        assert future.result(100) == 50_000
    finally:
        channel.on(PROGRESS, tell)
    assert future.progress is not None and future.progress.text == "done"
    assert len(messages) <= 12 + 10 * (time.monotonic() - began), "ten at once, ten a second, and the last one"


def in_a_child() -> int:
    pid = os.fork()
    if pid == 0:
        task.progress(0.9, "a child's")
        task.save("a child's")
        os._exit(task.id)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def test_in_a_child_that_a_task_forks_nothing_is_said(pool: ParslPoolExecutor) -> None:
    future = pool.submit(in_a_child)
    assert future.result(60) == 0
    assert future.progress is None


def count_in_threads() -> None:
    threads = [threading.Thread(target=count, args=(200,)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def test_threads_of_a_task_can_tell_its_progress(pool: ParslPoolExecutor) -> None:
    future = pool.submit(count_in_threads)
    future.result(60)
    assert future.progress is not None and future.progress.text == "done"
