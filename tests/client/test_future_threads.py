"""Many threads wait for, watch and cancel futures while bursts of results end them."""

import asyncio
import itertools
import operator
import random
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor, as_completed, wait
from contextlib import contextmanager
from typing import Any

import pytest

from parsl_pool.futures import AppFuture
from tests.client.bursts import Client

PATIENCE_S = 60
"""A deadlock is for ever; a busy machine is not."""


@pytest.fixture(autouse=True)
def threads_meet_often() -> Iterator[None]:
    """The interpreter changes the thread a thousand times as often as usual: nearly between any two steps."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(5e-6)
    yield
    sys.setswitchinterval(before)


@contextmanager
def threads(count: int) -> Iterator[ThreadPoolExecutor]:
    pool = ThreadPoolExecutor(count)
    try:
        yield pool
    finally:
        pool.shutdown(wait=True)


@pytest.mark.parametrize("finished", ["none", "outer", "inner"])
@pytest.mark.parametrize("when", ["at once", "while both wait"])
def test_waits_that_overlap_do_not_block_each_other(finished: str, when: str) -> None:
    """`wait` takes the conditions of all its futures, by their ids: two waits that had one in common could meet."""
    client = Client()
    with threads(2) as pool:
        for _ in range(2000):
            a, b, c = client.futures(3)
            client.burst({"none": [], "outer": [a, c], "inner": [b]}[finished])
            waits = [pool.submit(wait, pair, PATIENCE_S) for pair in ([a, b], [b, c])]
            rest = [future for future in (a, b, c) if not future.done()]
            while when == "while both wait" and not all(future._waiters for future in rest):
                time.sleep(0)
            client.burst(rest)
            for each in waits:
                assert not each.result(PATIENCE_S).not_done


class Watch:
    """What the threads saw of some futures."""

    def __init__(self, client: Client, futures: list[AppFuture[Any]]) -> None:
        self.client, self.futures = client, futures
        self.called = Counter[int]()
        self.completed: list[Any] = []
        self.cancelled: set[AppFuture[Any]] = set()
        self.late = client.tries.late

    def waits(self) -> None:
        assert not wait(self.futures, PATIENCE_S).not_done

    def completes(self) -> None:
        futures: Any = self.futures
        self.completed = [*as_completed(futures, PATIENCE_S)]

    def calls_back(self) -> None:
        for future in self.futures:
            future.add_done_callback(lambda future: self.called.update([id(future)]))

    def asks(self) -> None:
        for future in self.futures:
            try:
                assert future.result(PATIENCE_S) == "value"
            except CancelledError:
                assert future.cancelled()

    def awaits(self) -> None:
        async def main() -> list[Any]:
            awaited = [asyncio.wrap_future(future) for future in self.futures]
            return await asyncio.wait_for(asyncio.gather(*awaited, return_exceptions=True), PATIENCE_S)

        for future, got in zip(self.futures, asyncio.run(main())):
            assert isinstance(got, asyncio.CancelledError) if future.cancelled() else got == "value"

    def cancels(self) -> None:
        for future in random.Random(1).sample(self.futures, len(self.futures) // 3):
            if future.cancel():
                self.cancelled.add(future)

    def ends(self) -> None:
        for start in range(0, len(self.futures), 7):
            self.client.burst(self.futures[start : start + 7])

    def check(self) -> None:
        assert not self.client.tries.table
        for future in self.futures:
            assert future.done() and future.cancelled() == (future in self.cancelled)
            assert self.called[id(future)] == 1, "a callback runs once"
        assert Counter(self.completed) == Counter(self.futures), "each is completed once"
        assert self.client.tries.late - self.late == len(self.cancelled), "taken out of the table once"


def test_every_way_of_watching_sees_every_end_once() -> None:
    client = Client()
    with threads(7) as pool:
        for _ in range(100):
            watch = Watch(client, client.futures(30))
            calls: list[Callable[[], None]] = [
                watch.waits, watch.completes, watch.calls_back, watch.asks, watch.awaits, watch.cancels, watch.ends,
            ]  # fmt: skip
            for done in [pool.submit(call) for call in calls]:
                done.result(PATIENCE_S)
            watch.check()


def test_a_cancellation_and_a_result_that_meet_have_one_winner() -> None:
    """Whoever is told that it has cancelled can rely on it; whoever is not gets the result."""
    client = Client()
    with threads(3) as pool:
        for _ in range(300):
            futures = client.futures(20)
            barrier = threading.Barrier(3)

            def cancel(futures: list[AppFuture[Any]], barrier: threading.Barrier) -> list[bool]:
                barrier.wait(PATIENCE_S)
                return [future.cancel() for future in futures]

            def end(futures: list[AppFuture[Any]], barrier: threading.Barrier) -> None:
                barrier.wait(PATIENCE_S)
                client.burst(futures)

            cancels = [pool.submit(cancel, futures[::step], barrier) for step in (1, -1)]
            pool.submit(end, futures, barrier).result(PATIENCE_S)
            said, backwards = (each.result(PATIENCE_S) for each in cancels)
            for future, one, other in zip(futures, said, backwards[::-1]):
                assert one == other == future.cancelled() or future.cancelled() == (one or other)
                assert future.cancelled() or future.result(0) == "value"


def test_threads_that_ask_at_the_same_time_get_one_object() -> None:
    """All wait for the same future, are woken together, and come to the next one together: to make its condition."""
    client = Client()
    futures = client.futures(2000)
    with threads(4) as pool:
        asking = [pool.submit(lambda: [future.result(PATIENCE_S) for future in futures]) for _ in range(4)]
        for future in futures:
            if future._tid % 2:
                time.sleep(0)
            client.burst([future], ["a value with an identity"])
        first, *others = (each.result(PATIENCE_S) for each in asking)
    for other in others:
        assert all(map(operator.is_, first, other))


def end_all(futures: list[Future[Any]]) -> None:
    for future in futures:
        future.set_result(1)


def test_mixtures_with_plain_futures_see_every_end() -> None:
    client = Client()
    with threads(3) as pool:
        for _ in range(100):
            ours, plain = client.futures(10), [Future[Any]() for _ in range(10)]
            mixed: list[Future[Any]] = [*itertools.chain.from_iterable(zip(ours, plain))]
            waiting = pool.submit(wait, mixed, PATIENCE_S)
            completed = pool.submit(list, as_completed(mixed, PATIENCE_S))
            ending = pool.submit(end_all, plain)
            client.burst(ours[:5])
            client.burst(ours[5:])
            ending.result(PATIENCE_S)
            assert not waiting.result(PATIENCE_S).not_done
            assert Counter(completed.result(PATIENCE_S)) == Counter(mixed)
