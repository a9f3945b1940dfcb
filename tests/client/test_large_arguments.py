"""Large arguments: what waits, what is written, and which memory is used again. Nothing may be read by two tasks."""

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from pickle import PickleBuffer, dumps
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from parsl_pool import ParslPoolExecutor
from parsl_pool.dataflow.record import Options, TaskRecord
from parsl_pool.executors.high_throughput.arguments import dump_arguments
from parsl_pool.executors.high_throughput.large_arguments import LargeLine, SharedPayload
from parsl_pool.executors.high_throughput.warm_memory import BUDGET, WarmMemory
from parsl_pool.futures import PENDING, AppFuture
from parsl_pool.interchange import serialize, wire
from tests.client.bursts import Client
from tests.eventually import eventually

MEGABYTE = 1 << 20


@pytest.fixture
def home() -> Iterator[WarmMemory]:
    memory = WarmMemory()
    yield memory
    memory.close()


def payload_of(value: Any, home: WarmMemory) -> SharedPayload:
    payload = dump_arguments((value,), {}, "it", home)
    assert isinstance(payload, SharedPayload)
    return payload


def task_with(payload: SharedPayload) -> AppFuture[Any]:
    future: AppFuture[Any] = AppFuture()
    future._state, future._data = PENDING, payload
    return future


def send(payload: SharedPayload) -> list[int]:
    """As the I/O thread does; the descriptors are the caller's."""
    data, descriptors = payload.to_send()
    assert data == payload.short and descriptors
    return descriptors


def close(descriptors: list[int]) -> None:
    for fd in descriptors:
        os.close(fd)


def sent(payload: SharedPayload) -> None:
    close(send(payload))


def inode(fd: int) -> int:
    return os.fstat(fd).st_ino


def pickled_in(fd: int) -> Any:
    return serialize.load_plain(fd)[0]


# ---- memory that is used again


def test_arguments_of_a_task_that_is_over_make_room_for_the_next(home: WarmMemory) -> None:
    first, second = payload_of(bytes(MEGABYTE), home), payload_of(b"x" * (MEGABYTE // 2), home)
    (one,) = send(first)
    first.was_used()
    (other,) = send(second)
    assert inode(one) == inode(other) and pickled_in(other) == b"x" * (MEGABYTE // 2)
    assert os.fstat(other).st_size == second.size
    os.close(one)
    os.close(other)


def test_what_was_sent_twice_is_not_used_again(home: WarmMemory) -> None:
    """The worker of a try that was given up may be slow, and read it later."""
    first = payload_of(bytes(MEGABYTE), home)
    one, again = send(first), send(first)
    first.was_used()
    other = send(payload_of(b"x" * MEGABYTE, home))
    assert inode(one[0]) == inode(again[0]) != inode(other[0])
    close(one + again + other)


def test_memory_with_an_array_in_it_is_not_used_again(home: WarmMemory) -> None:
    """The worker may keep the array, which is that memory."""
    first = payload_of(PickleBuffer(bytearray(MEGABYTE)), home)
    one = send(first)
    first.was_used()
    other = send(payload_of(b"x" * MEGABYTE, home))
    assert inode(one[0]) != inode(other[0])
    close(one + other)


def test_a_task_without_a_result_gives_nothing_back(home: WarmMemory) -> None:
    first = payload_of(bytes(MEGABYTE), home)
    (one,) = send(first)
    del first
    (other,) = send(payload_of(b"x" * MEGABYTE, home))
    assert inode(one) != inode(other) and pickled_in(one) == bytes(MEGABYTE)
    os.close(one)
    os.close(other)


def test_what_is_kept_is_bounded(home: WarmMemory) -> None:
    before = len(os.listdir("/proc/self/fd"))
    for size in [serialize.LARGE] * 5 + [MEGABYTE] * 100 + [8 * MEGABYTE]:
        fd = serialize.to_shared_memory(bytes(size), "it")[1]
        home.give_back(fd, size, of_result=bool(size % 3))
    assert len(os.listdir("/proc/self/fd")) - before <= BUDGET // MEGABYTE
    home.close()
    assert len(os.listdir("/proc/self/fd")) == before


def test_memory_that_is_closed_keeps_nothing(home: WarmMemory) -> None:
    before = len(os.listdir("/proc/self/fd"))
    home.close()
    home.give_back(serialize.to_shared_memory(bytes(MEGABYTE), "it")[1], MEGABYTE, of_result=False)
    assert len(os.listdir("/proc/self/fd")) == before


def test_the_memory_of_a_result_is_lent_once_nobody_can_read_it() -> None:
    client = Client()
    future = client.future()
    short, fd = serialize.to_shared_memory(dumps(bytes(MEGABYTE), 5), "result")
    client.frame([future._tid], wire.OK, short, [fd])
    assert client.tries.warm.lend() == []
    outcome = future._data  # as a thread has it that is about to read
    assert future.result(0) == bytes(MEGABYTE)
    assert client.tries.warm.lend() == []
    del outcome
    assert client.tries.warm.lend() == [fd]
    os.close(fd)


def test_the_memory_of_a_result_that_another_task_needs_is_not_lent() -> None:
    client = Client()
    future = client.future()
    short, fd = serialize.to_shared_memory(dumps(bytes(MEGABYTE), 5), "result")
    client.frame([future._tid], wire.OK, short, [fd])
    view = future._data.view
    assert future.result(0) == bytes(MEGABYTE)
    assert client.tries.warm.lend() == []
    assert serialize.load_value(view) == bytes(MEGABYTE)


# ---- the line


def parts_of(numbers: list[float], first: int, home: WarmMemory) -> tuple[SharedPayload, list[Any]]:
    payload = payload_of((first, numbers), home)
    return payload, payload.parts()


def test_calls_with_the_same_data_that_wait_hold_it_once(home: WarmMemory) -> None:
    numbers = [number / 7 for number in range(200_000)]
    payloads = [parts_of(numbers, first, home) for first in range(20)]
    own = {id(part): len(part) for _, parts in payloads for part in parts}
    size = payloads[0][0].size
    assert size > 1 << 20 and sum(own.values()) < size + 20 * (1 << 17), "each has the part with its own number"
    numbers[100_000] = -1.0
    changed, parts = parts_of(numbers, 20, home)
    assert sum(part is not other for part, other in zip(parts, payloads[0][1])) == 2
    for number, payload in enumerate([*(each for each, _ in payloads), changed]):
        descriptors = send(payload)
        first, data = pickled_in(descriptors[0])
        assert (first, data[100_000], data[-1]) == (number, -1.0 if number == 20 else 100_000 / 7, 199_999 / 7)
        close(descriptors)


def test_nothing_is_kept_of_calls_that_are_over(home: WarmMemory) -> None:
    payload, parts = parts_of([number / 7 for number in range(200_000)], 0, home)
    assert home.last is not None and home.last() is parts
    del payload, parts
    assert home.last() is None
    assert len(parts_of([number / 7 for number in range(150_000)], 0, home)[1]) > 1


def line_of(home: WarmMemory, workers: int = 1) -> LargeLine:
    line = LargeLine(home)
    line.always = 2 * workers
    return line


def test_large_arguments_wait_unwritten_until_there_is_room(home: WarmMemory) -> None:
    line = line_of(home)
    tasks = [task_with(payload_of(bytes(MEGABYTE), home)) for _ in range(100)]
    assert not home.out
    now = line.admit(tasks)
    assert now == tasks[: len(now)] and BUDGET // MEGABYTE - 1 <= len(now) <= BUDGET // MEGABYTE + 1
    for future in now:
        sent(future._data)
    assert line.admit([]) == []
    for future in now[:3]:
        future._data.was_used()
        future._data = b""
    assert line.admit([]) == tasks[len(now) : len(now) + 3]


def test_workers_never_wait_for_room_however_large_arguments_are(home: WarmMemory) -> None:
    line = line_of(home, workers=3)
    tasks = [task_with(payload_of(bytes(BUDGET), home)) for _ in range(8)]
    assert line.admit(tasks) == tasks[:6]


def test_small_tasks_and_those_with_options_do_not_wait_and_cancelled_ones_take_no_room(home: WarmMemory) -> None:
    line = line_of(home)
    large = [task_with(payload_of(bytes(BUDGET), home)) for _ in range(5)]
    small, urgent = task_with(b"small"), task_with(payload_of(bytes(MEGABYTE), home))  # type: ignore[arg-type]
    urgent._record = TaskRecord(1, Options(priority=-1), "it", 0.0)
    now = line.admit([*large, small, urgent])
    assert now == [*large[:2], small, urgent]
    sent(large[0]._data)
    sent(large[1]._data)
    large[3]._data = None
    assert line.admit([]) == []  # only the first one is looked at
    for future in large[:2]:
        future._data.was_used()
        future._data = b""
    assert line.admit([]) == large[2:]


def test_those_that_wait_can_be_taken_out_in_order(home: WarmMemory) -> None:
    line = line_of(home)
    tasks = [task_with(payload_of(bytes(BUDGET), home)) for _ in range(5)]
    assert line.admit(tasks) == tasks[:2]
    assert line.leave() == tasks[2:] and line.leave() == []


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(st.sampled_from([1 << 16, 1 << 19, 1 << 22]), st.booleans()), max_size=40), st.data())
def test_each_task_is_admitted_once_and_each_reader_finds_its_own_arguments(
    sizes: list[tuple[int, bool]], data: st.DataObject
) -> None:
    home = WarmMemory()
    line = line_of(home)
    tasks = [task_with(payload_of(bytes([number]) * size, home)) for number, (size, _) in enumerate(sizes)]
    reading: list[tuple[int, list[int]]] = []
    done: list[int] = []
    coming = list(tasks)
    try:
        while len(done) < len(tasks):
            count = data.draw(st.integers(0, len(coming)))
            batch, coming = coming[:count], coming[count:]
            reading += [(tasks.index(future), send(future._data)) for future in line.admit(batch)]
            if reading:
                number, descriptors = reading.pop(data.draw(st.integers(0, len(reading) - 1)))
                assert pickled_in(descriptors[0]) == bytes([number]) * sizes[number][0]
                if sizes[number][1]:  # else it was cancelled, or its worker died
                    tasks[number]._data.was_used()
                tasks[number]._data = b""
                done.append(number)
                close(descriptors)
        assert sorted(done) == list(range(len(tasks)))
        assert not home.out and not home.unwritten
    finally:
        for _, descriptors in reading:
            close(descriptors)
        home.close()


# ---- through the pool


def flipped(data: bytes) -> bytes:
    return data[::-1]


def wait_for(path: Path) -> None:
    while not path.exists():
        time.sleep(0.01)


def test_many_large_tasks_come_back_right_and_take_little_memory(manager_inside: bool, tmp_path: Path) -> None:
    with ParslPoolExecutor(2, manager_inside=manager_inside) as pool:
        warm = pool._backend.link.tries.warm
        for _ in range(2):
            pool.submit(wait_for, tmp_path / "go on")
        blobs = [bytes([number]) * (MEGABYTE // 2 + number) + b"end" for number in range(7)]
        futures = [pool.submit(flipped, blobs[number % 7]) for number in range(70)]
        most = eventually(lambda: sum(list(warm.out.values())))
        (tmp_path / "go on").touch()
        for number, future in enumerate(futures):
            most = max(most, sum(list(warm.out.values())))
            assert future.result() == blobs[number % 7][::-1]
    assert most <= BUDGET + MEGABYTE


def test_large_arguments_that_wait_survive_the_interchange(manager_inside: bool) -> None:
    with ParslPoolExecutor(2, manager_inside=manager_inside) as pool:
        blobs = [bytes([number]) * MEGABYTE for number in range(120)]
        futures = [pool.submit(flipped, blob) for blob in blobs]
        assert futures[3].result() == blobs[3]
        process = pool._backend.link._process
        assert process is not None
        process.kill()
        assert [future.result() for future in futures] == blobs


def test_large_arguments_and_results_survive_the_manager(manager_inside: bool) -> None:
    """It keeps the memory of results until the client has them; what nobody has got dies with it, and runs again."""
    if manager_inside:
        pytest.skip("it is the interchange")
    with ParslPoolExecutor(2, manager_inside=False) as pool:
        blobs = [bytes([number]) * MEGABYTE for number in range(120)]
        futures = [pool.submit(flipped, blob) for blob in blobs]
        assert futures[3].result(60) == blobs[3]
        (manager,) = pool._backend.link.watcher.managers.values()
        os.kill(manager.pid, signal.SIGKILL)
        assert [future.result(60) for future in futures] == blobs


class LookedAt(AppFuture[Any]):
    """Counts how often anybody asks for its data."""

    looks = 0
    __slots__ = ("payload",)

    @property
    def _data(self) -> Any:
        LookedAt.looks += 1
        return self.payload

    @_data.setter
    def _data(self, payload: Any) -> None:
        self.payload = payload


def test_a_long_line_costs_no_more_than_a_short_one() -> None:
    """Each turn looks at the first one only, as long as there is no room for it."""
    home = WarmMemory()
    line = line_of(home)
    futures: list[AppFuture[Any]] = [LookedAt() for _ in range(1000)]
    for future in futures:
        future._data = SharedPayload(b"\x80" + bytes(serialize.LARGE), home)
    gone = line.admit(futures)
    assert 0 < len(gone) < len(futures)
    for future in gone:
        home.out[id(future)] = BUDGET  # as when they have been sent
    LookedAt.looks = 0
    for _ in range(100):
        assert line.admit([]) == []
    assert LookedAt.looks <= 100
