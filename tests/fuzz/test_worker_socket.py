"""Rubbish on a worker's socket, of which the manager has the other end: written there by tasks."""

import os
import pickle
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import psutil
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from parsl_pool import ParslPoolExecutor
from parsl_pool.errors import WorkerLost
from parsl_pool.interchange import columns, wire
from parsl_pool.interchange.object_records import WantObject
from parsl_pool.interchange.worker import Worker
from parsl_pool.interchange.worker_connection import Connection
from tests import leaks
from tests.eventually import eventually
from tests.fuzz import rubbish
from tests.fuzz.rubbish import Frame
from tests.recovery.arrangement import Arrangement, Parts
from tests.recovery.ledger import note, noted
from tests.recovery.test_stopped import noted_sleep

FUZZ = settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])

ACCEPTED = {wire.Flush, wire.Need, wire.Up, wire.Bulk, wire.FromTask, wire.Waiting, WantObject}
FAR = 1 << 40  # ids from here on are nobody's


def connection() -> Connection:
    """In a task: the connection of the worker that runs it."""
    frame: FrameType | None = sys._getframe()
    while frame is not None:
        worker = frame.f_locals.get("self")
        if isinstance(worker, Worker):
            return worker._connection
        frame = frame.f_back
    raise LookupError("this is no worker")


def write(data: bytes, descriptors: int = 0) -> int:
    """A task that writes to its worker's socket."""
    to = connection()
    if descriptors:
        import socket

        socket.send_fds(to._sock, [data], [1] * descriptors)
    else:
        to.send(data)
    return len(data)


class Pool:
    """A running pool, and its processes that are to survive."""

    def __init__(self, pool: ParslPoolExecutor, parts: Parts) -> None:
        self.pool, self.parts = pool, parts

    @property
    def dropped(self) -> int:
        state = self.pool._backend.link.ask(30)
        assert state is not None
        return int(state.dropped_frames)

    def survivors(self) -> set[psutil.Process]:
        return {self.parts.interchange, self.parts.manager, self.parts.fork_server}

    def check_it_works(self) -> None:
        assert sorted(self.pool.map(abs, range(-20, 0))) == list(range(1, 21))


@pytest.fixture(scope="module")
def fuzzed(arrangement: Arrangement) -> Iterator[Pool]:
    with leaks.keeping("the module's pool"), arrangement.pool(2) as pool:
        yield Pool(pool, arrangement.parts(pool))


def is_bad(frame: Frame) -> bool:
    return not frame.is_for(ACCEPTED)


def is_harmless(frame: Frame) -> bool:
    """What is bad must not matter. A good Flush with odd numbers damages the page, which is tested apart."""
    if is_bad(frame):
        return True
    record = frame.decode()
    if isinstance(record, wire.Bulk):
        return record.task >= FAR
    return isinstance(record, (wire.Up, wire.Need, wire.FromTask, wire.Waiting))


@FUZZ
@given(sent=st.lists(rubbish.frames().filter(is_harmless), min_size=1, max_size=12))
def test_each_bad_frame_is_dropped_and_counted(fuzzed: Pool, sent: list[Frame]) -> None:
    before, survivors = fuzzed.dropped, fuzzed.survivors()
    data = b"".join(frame.on_stream() for frame in sent)
    assert fuzzed.pool.submit(write, data).result(60) == len(data)
    assert fuzzed.dropped - before == sum(map(is_bad, sent))
    assert fuzzed.survivors() == survivors
    fuzzed.check_it_works()


def test_descriptors_that_nobody_asked_for_are_closed(fuzzed: Pool) -> None:
    fuzzed.check_it_works()
    before, had = fuzzed.dropped, fuzzed.parts.manager.num_fds()
    frame = wire.frame(wire.Need(1), 2)
    for _ in range(20):
        fuzzed.pool.submit(write, frame, 2).result(60)
    assert fuzzed.dropped - before == 20
    assert fuzzed.parts.manager.num_fds() <= had + 2


def test_a_task_cannot_break_the_pool_by_saying_that_an_initializer_failed(fuzzed: Pool) -> None:
    before, workers = fuzzed.dropped, set(fuzzed.pool._processes)
    fuzzed.pool.submit(write, wire.frame(wire.InitializerFailed("no", "no"))).result(60)
    assert fuzzed.dropped - before == 1
    fuzzed.check_it_works()
    assert workers <= set(fuzzed.pool._processes), "the worker is as good as before"


@pytest.mark.parametrize(
    "data",
    [
        wire.HEAD.pack(0xFFFF_FFFF, 52, 0),
        wire.HEAD.pack(1, 52, 0),
        wire.HEAD.pack(2, 52, 255),
        wire.HEAD.pack(wire.MAX_FRAME, 52, 1),
        bytes(64),
        b"\xff" * 100_000,
        columns.flush_frame(1 << 40, False, 0),
    ],
    ids=["longer than may be", "shorter than can be", "descriptors", "long, with descriptors", "zeros", "ones", "page"],
)
def test_bytes_that_are_no_frames_cost_the_worker_and_the_task_that_wrote_them(fuzzed: Pool, data: bytes) -> None:
    before, survivors = fuzzed.dropped, fuzzed.survivors()
    futures = [fuzzed.pool.submit(pow, 2, n) for n in range(100)]
    writer = fuzzed.pool.submit(write_and_stay, data)
    futures += [fuzzed.pool.submit(pow, 2, n) for n in range(100, 200)]
    with pytest.raises(WorkerLost, match="wrote rubbish to its manager|its page was damaged"):
        writer.result(60)
    assert [future.result(60) for future in futures] == [2**n for n in range(200)]
    assert fuzzed.dropped > before
    assert fuzzed.survivors() == survivors
    fuzzed.check_it_works()


def write_and_stay(data: bytes) -> None:
    write(data)
    time.sleep(100)


def test_a_length_of_two_gigabytes_takes_no_memory_of_the_managers(fuzzed: Pool) -> None:
    """The worker is lost for its own task only: it can be ended, as any that hangs."""
    survivors = fuzzed.survivors()
    before = fuzzed.parts.manager.memory_info().rss
    future = fuzzed.pool.options(walltime=2).submit(write_and_stay, wire.HEAD.pack(wire.MAX_FRAME, 52, 0))
    assert future.exception(60) is not None
    assert fuzzed.parts.manager.memory_info().rss - before < 50 << 20
    assert fuzzed.survivors() == survivors
    fuzzed.check_it_works()


HALF = wire.HEAD.pack(wire.MAX_FRAME, 52, 0)


def write_and_return(data: bytes, path: Path, size: int) -> bytes:
    note(path, size)
    write(data)
    return bytes(size)


def take_what_comes() -> None:
    """A task that leaves a thread behind, which takes the messages that are for the worker."""
    sock = connection()._sock

    def take() -> None:
        while sock.recv(1 << 16):
            pass

    threading.Thread(target=take, daemon=True).start()


def write_later(data: bytes, path: Path) -> None:
    """A task that leaves a thread behind, which writes to its worker's socket as soon as that file is gone."""
    to = connection()

    def write_it() -> None:
        while path.exists():
            time.sleep(0.01)
        to.send(data)
        path.with_suffix(".done").touch()

    threading.Thread(target=write_it, daemon=True).start()


class Spoiled:
    """A pool of one worker, whose connection a task that is over will spoil by half a frame."""

    def __init__(self, sign: Path, manager_inside: bool) -> None:
        self.pool = ParslPoolExecutor(1, manager_inside=manager_inside, retries=0, lost_retries=0)
        self._sign = sign
        sign.touch()
        self.pool.submit(write_later, HALF, sign).result(60)

    def spoil(self) -> None:
        self._sign.unlink()
        eventually(self._sign.with_suffix(".done").exists)


def test_a_task_of_the_past_that_wrote_half_a_frame_costs_no_other_task(tmp_path: Path) -> None:
    """Neither one whose worker asks for its function in vain, nor one that runs already."""
    ledger = tmp_path / "ledger"
    pools = [Spoiled(tmp_path / f"sign{number}", manager_inside=number > 0) for number in range(3)]
    with pools[0].pool, pools[1].pool, pools[2].pool:
        runs = pools[2].pool.submit(noted_sleep, ledger, 2, 12)
        eventually(lambda: noted(ledger), within=60)
        for pool in pools:
            pool.spoil()
        asks = [pools[number].pool.submit(noted_sleep, ledger, number, 0) for number in range(2)]
        assert [future.result(60) for future in (*asks, runs)] == [0, 1, 2]
    assert noted(ledger) == {0: 1, 1: 1, 2: 1}


def test_a_worker_whose_messages_do_not_arrive_is_ended(arrangement: Arrangement, tmp_path: Path) -> None:
    """What it writes is taken for the rest of a frame that a task began, or what it should read is read by another."""
    ledger = tmp_path / "ledger"
    with arrangement.pool(4) as pool:
        small = pool.submit(write_and_return, HALF, ledger, 5)
        large = pool.submit(write_and_return, HALF, ledger, 1 << 20)
        taken = pool.submit(take_what_comes)
        others = [pool.submit(pow, 2, n) for n in range(500)]
        assert [other.result(60) for other in others] == [2**n for n in range(500)]
        assert taken.result(60) is None
        assert small.result(60) == bytes(5), "it stands in the page"
        with pytest.raises(WorkerLost, match="does not arrive"):
            large.result(60)
    assert noted(ledger) == {5: 1, 1 << 20: 1}


class Opened:
    """Says in which process it is opened."""

    def __reduce__(self) -> tuple[Any, ...]:
        return os.getpid, ()


def give_opened() -> Any:
    return Opened()


def test_a_result_is_opened_by_the_client_and_by_nobody_else(fuzzed: Pool) -> None:
    hostile = pickle.dumps(Opened())
    assert fuzzed.pool.submit(give_opened).result(60) == os.getpid()
    before = fuzzed.dropped
    bulk = wire.frame(wire.Bulk(FAR, wire.LOST, 0, hostile)) + Frame(0, hostile).on_stream()
    fuzzed.pool.submit(write, bulk).result(60)
    assert fuzzed.dropped - before == 2, "a worker cannot say of itself that it is lost"
    dependent = fuzzed.pool.submit(lambda value: (value, os.getpid()), fuzzed.pool.submit(give_opened)).result(60)
    assert dependent[0] == dependent[1], "a dependent's worker opens it"
