"""The interchange ends, for any reason: another one takes its place, and nobody's work is lost but what was running."""

import os
import threading
import time
from collections import deque
from pathlib import Path
from typing import Any

import pytest

from parsl_pool import ParslPoolExecutor
from parsl_pool.errors import InterchangeLost, PlaceLost, PoolBroken
from parsl_pool.executors.high_throughput import recovery
from tests.eventually import eventually
from tests.recovery.arrangement import Arrangement
from tests.recovery.ledger import note, noted

pytestmark = [pytest.mark.kill, pytest.mark.timeout(60)]


def run_until(path: Path, ledger: Path, task: int) -> int:
    """A task that the test lets end."""
    note(ledger, task)
    while not path.exists():
        time.sleep(0.001)
    return task


def noted_triple(path: Path, task: int) -> int:
    note(path, task)
    return task * 3


def lose_the_interchange(arrangement: Arrangement, pool: ParslPoolExecutor) -> None:
    """Kill it, and wait until the client has noticed, that is, has another."""
    before = arrangement.parts(pool).interchange
    before.kill()
    eventually(lambda: pool._broken or arrangement.parts(pool).interchange != before)


def test_what_runs_apart_outlives_the_interchange(
    manager_inside: bool, arrangement: Arrangement, tmp_path: Path
) -> None:
    """Managers keep what was finished while there was nobody to take it."""
    if manager_inside:
        pytest.skip("a manager inside dies with the interchange, and its workers with it")
    ledger, go = tmp_path / "ledger", tmp_path / "go"
    with arrangement.pool(2, lost_retries=0) as pool:
        futures = [pool.submit(run_until, go, ledger, task) for task in range(4)]
        eventually(lambda: len(noted(ledger)) == 2)
        arrangement.parts(pool).interchange.kill()
        go.touch()
        assert [future.result(30) for future in futures] == list(range(4))
    assert noted(ledger) == {task: 1 for task in range(4)}


def test_what_runs_inside_is_tried_again_or_fails_by_name(
    manager_inside: bool, arrangement: Arrangement, tmp_path: Path
) -> None:
    if not manager_inside:
        pytest.skip("a manager apart keeps what it runs")
    for tries in (0, 1):
        ledger, go = tmp_path / f"ledger{tries}", tmp_path / f"go{tries}"
        with arrangement.pool(2, lost_retries=tries) as pool:
            futures = [pool.submit(run_until, go, ledger, task) for task in range(4)]
            eventually(lambda: len(noted(ledger)) == 2)  # noqa: B023  # called here
            lose_the_interchange(arrangement, pool)
            go.touch()
            errors = [future.exception(30) for future in futures]
            assert [error is None for error in errors] == [bool(tries)] * 2 + [True] * 2
            assert all(isinstance(error, InterchangeLost | None) for error in errors)
        assert noted(ledger) == {0: 1 + tries, 1: 1 + tries, 2: 1, 3: 1}


def test_an_idle_pool_gets_another_interchange(arrangement: Arrangement) -> None:
    with arrangement.pool(2) as pool:
        for _ in range(2):
            lose_the_interchange(arrangement, pool)
            assert pool.submit(lambda: 5).result(30) == 5
            arrangement.check(pool)


def test_functions_arguments_and_dependencies_survive(arrangement: Arrangement, tmp_path: Path) -> None:
    """By value, large (in shared memory), waiting for others."""
    go, big = tmp_path / "go", bytes(300_000)
    with arrangement.pool(2) as pool:
        held = [pool.submit(run_until, go, tmp_path / "ledger", task) for task in range(2)]
        local = [pool.submit(lambda value: value + 1, i) for i in range(20)]
        large = [pool.submit(len, big + bytes(i)) for i in range(5)]
        dependent = pool.submit(lambda one, two: one + two, held[0], local[3])
        chain = pool.submit(abs, dependent)
        eventually(lambda: len(noted(tmp_path / "ledger")) == 2)
        lose_the_interchange(arrangement, pool)
        go.touch()
        assert [future.result(30) for future in held] == [0, 1]
        assert [future.result(30) for future in local] == [i + 1 for i in range(20)]
        assert [future.result(30) for future in large] == [300_000 + i for i in range(5)]
        assert chain.result(30) == 0 + 4


class SlowOutbox(deque[Any]):
    """An outbox at whose door a thread is held up: what it submits is in the table, and not here yet."""

    def __init__(self) -> None:
        super().__init__()
        self.stands, self.may_go_on = threading.Event(), threading.Event()

    def append(self, future: Any) -> None:
        if threading.current_thread().name == "slow":
            self.stands.set()
            assert self.may_go_on.wait(30)
        super().append(future)


def test_what_is_submitted_while_the_interchange_is_replaced_runs_once(
    arrangement: Arrangement, tmp_path: Path
) -> None:
    """A thread stands in submit(), between the table and the outbox, all through the recovery."""
    ledger = tmp_path / "ledger"
    with arrangement.pool(2) as pool:
        futures: dict[int, Any] = {}
        link = pool._backend.link
        assert pool.submit(abs, -1).result(30) == 1
        link.outbox = outbox = SlowOutbox()
        slow = threading.Thread(
            target=lambda: futures.update({0: pool.submit(noted_triple, ledger, 0)}), name="slow", daemon=True
        )
        slow.start()
        assert outbox.stands.wait(30)
        lose_the_interchange(arrangement, pool)
        for task in range(1, 100):
            futures[task] = pool.submit(noted_triple, ledger, task)
        eventually(lambda: 0 in noted(ledger))  # it has been found in the table, and sent
        outbox.may_go_on.set()
        slow.join(30)
        assert [futures[task].result(30) for task in range(100)] == [3 * task for task in range(100)]
        assert list(pool.map(abs, range(-20, 0), timeout=30)) == list(range(20, 0, -1))
    assert noted(ledger) == {task: 1 for task in range(100)}


@pytest.mark.timeout(300)  # many restarts
def test_threads_submit_while_the_interchange_is_killed(
    arrangement: Arrangement, tmp_path: Path, kill_rounds: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recovery, "_RESTARTS", 1000)
    ledger = tmp_path / "ledger"
    ended = threading.Event()
    tries: dict[int, int] = {}

    def submit(first: int) -> None:
        for task in range(first, 1 << 40, 4):
            if ended.is_set():
                return
            future = pool.submit(noted_triple, ledger, task)
            submitted.append((task, future))
            if task % 400 < 4:
                future.exception(30)

    submitted: list[tuple[int, Any]] = []
    with arrangement.pool(2, lost_retries=100) as pool:
        threads = [threading.Thread(target=submit, args=(first,)) for first in range(4)]
        for thread in threads:
            thread.start()
        try:
            for _ in range(5 * kill_rounds):
                before = len(submitted)
                eventually(lambda: len(submitted) > before + 200, within=20)  # noqa: B023  # called here
                lose_the_interchange(arrangement, pool)
        finally:
            ended.set()
            for thread in threads:
                thread.join(30)
        for task, future in submitted:
            assert future.result(30) == 3 * task
            tries[task] = 1 + (len(future._record.attempts) if future._record is not None else 0)
    begun = noted(ledger)
    assert begun.keys() == tries.keys()
    assert not {task: (begun[task], tries[task]) for task in begun if begun[task] > tries[task]}


def test_an_interchange_that_dies_again_and_again_breaks_the_pool_with_a_reason(arrangement: Arrangement) -> None:
    with arrangement.pool(2) as pool:
        held = pool.submit(time.sleep, 60)
        with pytest.raises(PoolBroken, match="interchange.*SIGKILL"):
            for _ in range(10):
                lose_the_interchange(arrangement, pool)
                pool.submit(abs, 1)
        assert isinstance(held.exception(10), PoolBroken | PlaceLost)
        with pytest.raises(PoolBroken):
            pool.submit(os.getpid)


def test_a_shutdown_ends_though_the_interchange_dies_during_it(arrangement: Arrangement, tmp_path: Path) -> None:
    ledger = tmp_path / "ledger"
    with arrangement.pool(2) as pool:
        futures = [pool.submit(noted_triple, ledger, task) for task in range(3000)]
        pool.shutdown(wait=False)
        arrangement.parts(pool).interchange.kill()
        pool.shutdown()
        assert [future.result(0) for future in futures] == [3 * task for task in range(3000)]
