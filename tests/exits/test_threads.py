"""Many threads use a pool, and end it, at once; and callbacks do, in the thread that brings results."""

import gc
import itertools
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from concurrent.futures import Future, wait
from concurrent.futures import TimeoutError as FuturesTimeoutError  # another class on Python 3.10
from pathlib import Path
from typing import Any

import psutil
import pytest

from parsl_pool import ParslPoolExecutor
from parsl_pool.errors import SerializationError
from tests.eventually import eventually
from tests.exits.work import hold, triple
from tests.recovery.arrangement import Arrangement
from tests.recovery.ledger import note, noted

pytestmark = pytest.mark.timeout(60)


class Crowd:
    """Threads that begin together. What one of them raises fails the test."""

    def __init__(self) -> None:
        self._threads: list[threading.Thread] = []
        self._go = threading.Event()
        self.errors: list[BaseException] = []

    def add(self, work: Callable[[], object], copies: int = 1) -> None:
        for _ in range(copies):
            self._threads.append(threading.Thread(target=self._run, args=(work,), name="crowd"))

    def _run(self, work: Callable[[], object]) -> None:
        self._go.wait()
        try:
            work()
        except BaseException as error:
            self.errors.append(error)

    def run(self, within: float = 30) -> None:
        for thread in self._threads:
            thread.start()
        self._go.set()
        end = time.monotonic() + within
        for thread in self._threads:
            thread.join(max(0.0, end - time.monotonic()))
        assert not [thread for thread in self._threads if thread.is_alive()], "a thread hangs"
        if self.errors:
            raise self.errors[0]


@pytest.fixture
def crowd() -> Iterator[Crowd]:
    yield Crowd()


def test_threads_that_race_for_the_first_submit_start_one_pool(arrangement: Arrangement, crowd: Crowd) -> None:
    for _ in range(5):
        results: list[int] = []
        crowd = Crowd()
        with ParslPoolExecutor(2, manager_inside=arrangement.inside) as pool:
            crowd.add(lambda: results.append(pool.submit(triple, 2).result(20)), 8)  # noqa: B023  # joined below
            crowd.run()
            assert results == [6] * 8
            arrangement.check(pool)


def test_four_threads_get_what_they_submitted(arrangement: Arrangement, crowd: Crowd, tmp_path: Path) -> None:
    with arrangement.pool(2) as pool:

        def work() -> None:
            for base in range(0, 2000, 100):
                futures = [pool.submit(noted_triple, tmp_path / "ledger", base + i) for i in range(100)]
                assert [future.result(30) for future in futures] == [3 * (base + i) for i in range(100)]

        crowd.add(work, 4)
        crowd.run(50)
    assert noted(tmp_path / "ledger") == {task: 4 for task in range(2000)}


def noted_triple(path: Path, task: int) -> int:
    note(path, task)
    return task * 3


def test_shutdown_from_several_threads(arrangement: Arrangement, crowd: Crowd) -> None:
    with arrangement.pool(2) as pool:
        futures = [pool.submit(triple, i) for i in range(500)]
        crowd.add(pool.shutdown, 3)
        crowd.add(lambda: pool.shutdown(wait=False), 3)
        crowd.run()
        assert [future.result(0) for future in futures] == [3 * i for i in range(500)]


@pytest.mark.parametrize("end", ["shutdown", "kill_workers", "terminate_workers"])
@pytest.mark.parametrize("recycling", [None, 3], ids=["", "recycling"])
def test_submits_that_race_with_the_end_are_refused_or_come_to_something(
    arrangement: Arrangement, crowd: Crowd, recycling: int | None, end: str
) -> None:
    futures: list[tuple[int, Future[int]]] = []
    with arrangement.pool(2, max_tasks_per_child=recycling) as pool:

        def work() -> None:
            for i in itertools.count():
                try:
                    futures.append((i, pool.submit(triple, i)))
                except RuntimeError as error:
                    assert "shutdown" in str(error)
                    return
                if i % 100 == 99:
                    wait([futures[-1][1]])

        def finish() -> None:
            eventually(lambda: len(futures) > 300)
            getattr(pool, end)()

        crowd.add(work, 3)
        crowd.add(finish)
        crowd.run(50)
        assert not wait([future for _, future in futures], 10).not_done
        for i, future in futures:
            if end == "shutdown" or not future.exception():
                assert future.result(0) == 3 * i


def test_cancelling_everything_races_with_results(arrangement: Arrangement, crowd: Crowd, tmp_path: Path) -> None:
    """What was cancelled never ran; what ran was not cancelled."""
    ledger = tmp_path / "ledger"
    with arrangement.pool(2) as pool:
        futures = [pool.submit(noted_triple, ledger, i) for i in range(3000)]
        crowd.add(lambda: [future.cancel() for future in futures], 2)
        crowd.add(lambda: [future.cancel() for future in reversed(futures)])
        crowd.add(lambda: pool.shutdown(cancel_futures=True))
        crowd.run(50)
    begun = noted(ledger)
    for task, future in enumerate(futures):
        assert future.done()
        assert begun[task] == (not future.cancelled())
        if not future.cancelled():
            assert future.result(0) == 3 * task


def test_cancelling_everything_meets_what_cannot_be_pickled(arrangement: Arrangement) -> None:
    """Unpicklable arguments and results, before, among and behind what is cancelled. Nothing waits for ever."""
    with arrangement.pool(2) as pool:
        futures: list[Future[Any]] = []
        for _ in range(100):
            futures.append(pool.submit(triple, threading.Lock()))
            futures.append(pool.submit(threading.Lock))
            futures.append(pool.submit(time.sleep, 0.001))
        pool.shutdown(cancel_futures=True)
        for future in futures:
            assert future.done()
            if not future.cancelled():
                assert isinstance(future.exception(0), SerializationError | None)


@pytest.mark.parametrize("pending, recycling", [(0, None), (500, None), (20, 1)])
def test_a_dropped_pool_ends_when_its_tasks_are_done(
    arrangement: Arrangement, pending: int, recycling: int | None
) -> None:
    pool = ParslPoolExecutor(2, manager_inside=arrangement.inside, max_tasks_per_child=recycling)
    assert pool.submit(triple, 1).result(20) == 3
    processes = processes_of(arrangement, pool)
    futures = [pool.submit(triple, i) for i in range(pending)]
    gone = weakref.ref(pool)
    del pool
    eventually(lambda: gone() is None or gc.collect() is None)
    assert gone() is None
    assert [future.result(20) for future in futures] == [3 * i for i in range(pending)]
    eventually(lambda: not any(map(runs, processes)))


def processes_of(arrangement: Arrangement, pool: ParslPoolExecutor) -> list[psutil.Process]:
    return eventually(lambda: arrangement.parts(pool).all())  # not at once: a worker may just be replaced


def runs(process: psutil.Process) -> bool:
    return process.is_running() and process.status() != psutil.STATUS_ZOMBIE


class Done:
    """Called back in the thread that brings results; keeps what the callback did, or raised."""

    def __init__(self, work: Callable[[Future[int]], object]) -> None:
        self._work = work
        self.value: object = None
        self.error: BaseException | None = None
        self.called = threading.Event()
        self.thread = ""

    def __call__(self, future: "Future[int]") -> None:
        self.thread = threading.current_thread().name
        try:
            self.value = self._work(future)
        except BaseException as error:
            self.error = error
        self.called.set()

    def outcome(self) -> object:
        assert self.called.wait(20), "the callback hangs"
        assert self.thread.startswith("parsl-pool")
        if self.error is not None:
            raise self.error
        return self.value


def slow(value: int) -> int:
    time.sleep(0.2)  # long enough for the test to add its callback before the end
    return value * 3


def after_a_task(pool: ParslPoolExecutor, work: Callable[["Future[int]"], object]) -> Done:
    done = Done(work)
    pool.submit(slow, 1).add_done_callback(done)
    return done


def test_a_callback_can_wait_for_another_task(arrangement: Arrangement) -> None:
    with arrangement.pool(2) as pool:
        other = pool.submit(slow, 2)
        done = after_a_task(pool, lambda future: (future.result(), other.result(), pool.submit(triple, 3).result()))
        assert done.outcome() == (3, 6, 9)


def test_a_callback_that_waits_has_its_timeout(arrangement: Arrangement, tmp_path: Path) -> None:
    with arrangement.pool(2) as pool:
        held = pool.submit(hold, str(tmp_path / "held"), 3.0)

        def work(_: object) -> object:
            with pytest.raises(FuturesTimeoutError):
                held.result(0.1)
            return held.done()

        assert after_a_task(pool, work).outcome() is False
        held.kill()


def test_a_callback_can_map_wait_and_cancel(arrangement: Arrangement) -> None:
    with arrangement.pool(2) as pool:

        def work(_: object) -> object:
            values = list(pool.map(triple, range(200), timeout=20))
            futures = [pool.submit(slow, i) for i in range(20)]
            cancelled = sum(future.cancel() for future in futures)
            finished, pending = wait(futures, 20)
            return values == [3 * i for i in range(200)], cancelled > 0, len(finished), len(pending)

        assert after_a_task(pool, work).outcome() == (True, True, 20, 0)


@pytest.mark.parametrize("wait_for_it", [True, False])
def test_a_callback_can_shut_its_pool_down(arrangement: Arrangement, wait_for_it: bool) -> None:
    with arrangement.pool(2) as pool:
        done = after_a_task(pool, lambda _: pool.shutdown(wait=wait_for_it))
        more = [pool.submit(triple, i) for i in range(300)]
        assert done.outcome() is None
        assert [future.result(10) for future in more] == [3 * i for i in range(300)]


@pytest.mark.parametrize("end", ["kill_workers", "terminate_workers"])
def test_a_callback_can_kill_its_pool(arrangement: Arrangement, tmp_path: Path, end: str) -> None:
    with arrangement.pool(2) as pool:
        held = pool.submit(hold, str(tmp_path / "held"))
        done = after_a_task(pool, lambda _: getattr(pool, end)())
        assert done.outcome() is None
        assert held.exception(10) is not None


def test_a_chain_of_callbacks_each_of_which_submits(arrangement: Arrangement) -> None:
    """And each finished before the one after it: no stack grows with the chain."""
    last = threading.Event()
    with arrangement.pool(2) as pool:

        def again(future: "Future[int]") -> None:
            left = future.result()
            if left:
                pool.submit(one_less, left).add_done_callback(again)
            else:
                last.set()

        pool.submit(one_less, 1500).add_done_callback(again)
        assert last.wait(30)


def one_less(value: int) -> int:
    return value - 1


def test_callbacks_each_of_which_waits_for_the_next(arrangement: Arrangement, tmp_path: Path) -> None:
    """The results of short tasks come many at a time, so most of those awaited are here, but not yet told."""
    count, answers = 40, dict[int, int]()
    with arrangement.pool(1) as pool:
        held = pool.submit(hold, str(tmp_path / "held"), 0.5)
        futures = [pool.submit(triple, i) for i in range(count)]

        def wait_for_next(i: int) -> Callable[["Future[int]"], None]:
            def callback(_: object) -> None:
                answers[i] = futures[i + 1].result(20)

            return callback

        for i in range(count - 1):
            futures[i].add_done_callback(wait_for_next(i))
        assert not held.done()
        eventually(lambda: len(answers) == count - 1)
    assert answers == {i: 3 * (i + 1) for i in range(count - 1)}


def test_callbacks_that_wait_within_each_other(arrangement: Arrangement) -> None:
    """Each waits for a task whose own callback waits for the next."""
    with arrangement.pool(2) as pool:

        def deeper(level: int) -> int:
            if not level:
                return 0
            done = after_a_task(pool, lambda _: deeper(level - 1))
            other = pool.submit(slow, level)
            other.result(20)
            assert done.called.wait(0) or pool.submit(slow, 1).result(20) == 3
            return level

        assert after_a_task(pool, lambda _: deeper(4)).outcome() == 4


def test_a_with_block_inside_a_callback_of_another_pool(arrangement: Arrangement) -> None:
    with arrangement.pool(1) as pool:

        def work(_: object) -> object:
            with ParslPoolExecutor(1, manager_inside=arrangement.inside) as other:
                return other.submit(triple, 4).result(20)

        assert after_a_task(pool, work).outcome() == 12
