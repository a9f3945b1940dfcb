"""wait() and as_completed() take our futures together with everybody else's."""

import threading
from collections.abc import Iterator
from concurrent.futures import (
    ALL_COMPLETED,
    FIRST_COMPLETED,
    FIRST_EXCEPTION,
    Future,
    ProcessPoolExecutor,
    ThreadPoolExecutor,
    as_completed,
    wait,
)
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import pytest

from tests.frameworks import work


@pytest.fixture
def threads() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(2) as threads:
        yield threads


def test_futures_of_four_kinds_are_waited_for_together(pool: Any, threads: ThreadPoolExecutor) -> None:
    by_hand: Future[int] = Future()
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as standard:
        futures = [
            *(executor.submit(work.square, n) for n in range(50) for executor in (pool, threads)),
            standard.submit(work.square, 50),
            by_hand,
        ]
        by_hand.set_result(51 * 51)
        done, not_done = wait(futures, timeout=60)
        assert not not_done
        assert {future.result() for future in done} == {n * n for n in range(52)}
        assert {id(future) for future in as_completed(futures)} == {id(future) for future in futures}


def test_the_first_of_a_mixture_ends_the_wait(pool: Any, threads: ThreadPoolExecutor, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    slow = [pool.submit(work.wait_for, gate), threads.submit(work.wait_for, gate)]
    quick = pool.submit(work.square, 7)
    done, not_done = wait([*slow, quick], return_when=FIRST_COMPLETED, timeout=60)
    assert (done, not_done) == ({quick}, set(slow))
    gate.touch()
    assert wait(slow, return_when=ALL_COMPLETED, timeout=60).done == set(slow)


def test_the_first_exception_of_a_mixture_ends_the_wait(
    pool: Any, threads: ThreadPoolExecutor, tmp_path: Path
) -> None:
    gate = tmp_path / "gate"
    slow = threads.submit(work.wait_for, gate)
    wrong = pool.submit(work.divide, 1, 0)
    done, not_done = wait([slow, wrong], return_when=FIRST_EXCEPTION, timeout=60)
    assert (done, not_done) == ({wrong}, {slow})
    gate.touch()


def test_as_completed_gives_a_mixture_in_the_order_of_its_ends(
    pool: Any, threads: ThreadPoolExecutor, tmp_path: Path
) -> None:
    gates = [tmp_path / str(n) for n in range(4)]
    futures = [(pool, threads)[n % 2].submit(work.wait_for, gate) for n, gate in enumerate(gates)]
    order = [2, 1, 3, 0]
    gates[order[0]].touch()
    seen = []
    for future in as_completed(futures, timeout=60):
        seen.append(futures.index(future))
        if len(seen) < len(order):
            gates[order[len(seen)]].touch()
    assert seen == order


def test_as_completed_times_out_on_a_mixture(pool: Any, threads: ThreadPoolExecutor, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    futures = [pool.submit(work.wait_for, gate), threads.submit(work.wait_for, gate)]
    with pytest.raises(TimeoutError if hasattr(TimeoutError, "add_note") else Exception, match="2 .of 2."):
        list(as_completed(futures, timeout=0.05))
    gate.touch()


def test_waits_for_overlapping_sets_do_not_lock_each_other_out(pool: Any) -> None:
    rounds = 150
    failures: list[str] = []

    def waiter(pairs: list[list[Future[int]]]) -> None:
        for pair in pairs:
            if wait(pair, timeout=60).not_done:
                failures.append("a wait timed out")
                return

    left: list[list[Future[int]]] = []
    right: list[list[Future[int]]] = []
    for n in range(rounds):
        a, b, c = (pool.submit(work.square, n) for _ in range(3))
        left.append([a, b])
        right.append([c, b])
    waiters = [
        threading.Thread(target=waiter, args=(pairs,), daemon=True) for pairs in (left, right, left, right)
    ]
    for thread in waiters:
        thread.start()
    for thread in waiters:
        thread.join(90)
    assert not failures
    assert not any(thread.is_alive() for thread in waiters)
