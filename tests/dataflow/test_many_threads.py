"""Sixteen threads submit graphs at once: what comes of it, and in which steps."""

import gc
import threading
from concurrent.futures import Future
from typing import Any

import pytest

from parsl_pool import Config, ParslPoolExecutor, ThreadPoolExecutor
from parsl_pool.dataflow import kernel as kernel_module
from parsl_pool.dataflow.kernel import Kernel
from parsl_pool.futures import AppFuture

pytestmark = pytest.mark.timeout(120)

THREADS, EACH = 16, 40


def add(one: int, other: int) -> int:
    return one + other


@pytest.mark.parametrize("arrangement", ["inside", "apart", "threads"])
def test_16_threads_submit_graphs_that_need_each_others_tasks(arrangement: str) -> None:
    if arrangement == "threads":
        pool = ParslPoolExecutor(Config([ThreadPoolExecutor()]))
    else:
        pool = ParslPoolExecutor(2, manager_inside=arrangement == "inside")
    with pool:
        rows: list[list[Future[int]]] = [[pool.submit(abs, -thread)] for thread in range(THREADS)]
        begin = threading.Barrier(THREADS)

        def submit(thread: int) -> None:
            begin.wait()
            mine, others = rows[thread], rows[(thread + 1) % THREADS]
            for _ in range(EACH):
                mine.append(pool.submit(add, mine[-1], others[0]))  # of others the first, whose value is known here

        threads = [threading.Thread(target=submit, args=(thread,)) for thread in range(THREADS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        for number, row in enumerate(rows):
            neighbour = (number + 1) % THREADS
            assert [future.result(60) for future in row] == [number + step * neighbour for step in range(EACH + 1)]
        executor: Any = next(iter(pool.executors.values()))
        assert len(executor.kernel) == len(executor.kernel._graph) == 0
        assert executor.unfinished() == []


def test_a_waiting_task_is_few_objects_for_the_garbage_collector() -> None:
    """It looks at all of them again and again: they had been 19, and half of the time of a large graph."""
    count = 1000
    with ParslPoolExecutor(1) as pool:
        never: Future[int] = Future()
        row = [pool.submit(abs, never), pool.submit(abs, never)]
        gc.collect()
        before = len(gc.get_objects())
        for _ in range(count):
            row.append(pool.submit(add, row[-1], row[-2]))
        gc.collect()
        objects = len(gc.get_objects()) - before
        for future in row:
            future.cancel()
    assert objects < 12 * count


class Backend:
    wants_payloads = False

    def __init__(self) -> None:
        self.launched = 0

    def launch(self, future: AppFuture[Any], arguments: Any, results: list[Any]) -> None:
        self.launched += 1

    def name_of(self, future: AppFuture[Any]) -> str:
        return ""


class CountedLock:
    """How often it was taken. It says that somebody has it as often as it is told to."""

    def __init__(self) -> None:
        self.taken = 0
        self.busy_for = 0
        self.taken_while_busy = 0

    def locked(self) -> bool:
        self.busy_for -= self.busy_for > 0
        return self.busy_for > 0

    def __enter__(self) -> None:
        self.taken += 1
        self.taken_while_busy += self.busy_for > 0

    def __exit__(self, *_: object) -> None:
        pass


def locked_steps(count: int) -> float:
    """How often the lock is taken for each of so many tasks which need the same ones."""
    kernel, backend, lock = Kernel(), Backend(), CountedLock()
    kernel._lock = lock  # type: ignore[assignment]
    needed: list[Future[int]] = [Future(), Future()]
    for _ in range(count):
        kernel.submit(AppFuture(), None, needed, backend)
    for future in needed:
        future.set_result(1)
    assert backend.launched == count
    return lock.taken / count


def test_a_task_takes_the_lock_as_often_however_many_there_are() -> None:
    assert locked_steps(2_000) <= locked_steps(20) <= 3


def test_nobody_stands_in_line_for_the_lock(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who stood there would be given it while others have the interpreter: each step would change threads."""
    naps: list[float] = []
    monkeypatch.setattr(kernel_module, "sleep", naps.append)
    kernel, backend, lock = Kernel(), Backend(), CountedLock()
    kernel._lock = lock  # type: ignore[assignment]
    needed: Future[int] = Future()
    lock.busy_for = 5
    kernel.submit(AppFuture(), None, [needed], backend)
    lock.busy_for = 5
    needed.set_result(1)
    assert backend.launched == 1
    assert lock.taken_while_busy == 0 and len(naps) >= 2
