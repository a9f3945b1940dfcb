"""A process that is stopped (SIGSTOP), as by a debugger, a job scheduler or a swapping machine, counts as lost."""

import os
import random
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from parsl_pool import ParslPoolExecutor
from parsl_pool.errors import InterchangeLost, ManagerLost, WorkerLost
from parsl_pool.executors.high_throughput import recovery, watchdog
from tests.eventually import eventually
from tests.recovery.arrangement import Arrangement, Parts, is_over
from tests.recovery.ledger import note, noted
from tests.recovery.load import Load

pytestmark = [pytest.mark.kill, pytest.mark.timeout(90)]

WORKER_S = 10


@pytest.fixture(autouse=True)
def short_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the client with the interchange: 15 s else, 20 s for its end."""
    monkeypatch.setattr(watchdog, "PING_S", 0.5)
    monkeypatch.setattr(watchdog, "HANG_S", 1.5)
    monkeypatch.setattr(watchdog, "END_S", 12)
    monkeypatch.setattr(watchdog, "KILL_S", 2)


def short_heartbeats(pool: ParslPoolExecutor) -> None:
    """Of interchange and managers, for a pool that has not started: 20 s else."""
    pool._backend.heartbeat_period, pool._backend.heartbeat_threshold = 0.5, 2.0


def noted_sleep(path: Path, task: int, seconds: float) -> int:
    note(path, task)
    time.sleep(seconds)
    return task


class Stops:
    """Stops processes of a loaded pool at random moments, and sees to it that they are ended."""

    def __init__(self, load: Load, parts: Parts) -> None:
        seed = random.randrange(1 << 32)
        print(f"seed {seed}")
        self.load, self.parts, self.choices = load, parts, random.Random(seed)
        self.victims: list[psutil.Process] = []

    def stop(self, find: Callable[[], psutil.Process]) -> None:
        self.load.top_up()
        self.load.advance(self.choices.randrange(100, 1200))
        victim = eventually(find, within=30)  # what was ended may just be replaced
        victim.suspend()
        self.victims.append(victim)

    def await_ends(self) -> None:
        eventually(lambda: all(map(is_over, self.victims)), within=6 * WORKER_S)


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_stops_at_random_moments(
    arrangement: Arrangement, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While 10,000 tasks are under way. Nothing hangs, and no task begins twice."""
    monkeypatch.setattr(recovery, "_RESTARTS", 1000)
    with arrangement.new_pool(3, lost_retries=0) as pool:
        short_heartbeats(pool)
        assert pool.submit(abs, -1).result(30) == 1
        load, parts = Load(pool, tmp_path / "ledger"), arrangement.parts(pool)
        stops = Stops(load, parts)
        stops.stop(lambda: stops.choices.choice(parts.workers))
        stops.stop(lambda: parts.fork_server)
        next(worker for worker in stops.victims[-1].children() if worker not in stops.victims).kill()
        stops.await_ends()
        stops.stop(lambda: parts.manager)
        stops.await_ends()
        stops.stop(lambda: parts.interchange)
        stops.await_ends()
        load.top_up()
        load.finish()
        assert load.check((WorkerLost, ManagerLost, InterchangeLost)) < 3000


@pytest.mark.slow
@pytest.mark.parametrize("retries", [0, 1])
def test_a_stopped_worker_is_lost_when_its_task_is_due(
    arrangement: Arrangement, tmp_path: Path, retries: int
) -> None:
    with arrangement.pool(2, retries=retries) as pool:
        future = pool.submit(noted_sleep, tmp_path / "ledger", 7, 0.5)
        eventually(lambda: noted(tmp_path / "ledger"))
        workers = arrangement.parts(pool).workers
        for worker in workers:
            os.kill(worker.pid, signal.SIGSTOP)
        others = [pool.submit(abs, -i) for i in range(50)]
        if retries:
            assert future.result(3 * WORKER_S) == 7
        else:
            error = future.exception(3 * WORKER_S)
            assert isinstance(error, WorkerLost)
            assert "SIGSTOP" in str(error)
        failed = [other for other in others if other.exception(3 * WORKER_S)]
        assert len(failed) < 2  # the one that the other worker was about to run
        assert noted(tmp_path / "ledger") == {7: 1 + retries}


def test_a_worker_that_is_stopped_and_goes_on_has_lost_nothing(arrangement: Arrangement, tmp_path: Path) -> None:
    with arrangement.pool(1) as pool:
        future = pool.submit(noted_sleep, tmp_path / "ledger", 7, 0.1)
        eventually(lambda: noted(tmp_path / "ledger"))
        (worker,) = arrangement.parts(pool).workers
        worker.suspend()
        time.sleep(1)  # long enough to be seen, and far from counting as lost
        worker.resume()
        assert future.result(10) == 7
        assert noted(tmp_path / "ledger") == {7: 1}


@pytest.mark.parametrize("idle", [True, False], ids=["idle", "busy"])
def test_a_stopped_interchange_is_replaced(arrangement: Arrangement, tmp_path: Path, idle: bool) -> None:
    ledger = tmp_path / "ledger"
    with arrangement.pool(2) as pool:
        futures = [] if idle else [pool.submit(noted_sleep, ledger, task, 0.01) for task in range(200)]
        before = arrangement.parts(pool).interchange
        before.suspend()
        futures += [pool.submit(noted_sleep, ledger, task, 0.01) for task in range(200, 400)]
        expected = range(200 if idle else 0, 400)
        assert [future.result(30) for future in futures] == list(expected)
        assert arrangement.parts(pool).interchange != before
        for future in futures:
            lost = 0 if future._record is None else len(future._record.attempts)
            assert noted(ledger)[future.result()] <= 1 + lost


def test_a_stopped_manager_is_replaced(manager_inside: bool, arrangement: Arrangement, tmp_path: Path) -> None:
    if manager_inside:
        pytest.skip("it is the interchange")
    ledger = tmp_path / "ledger"
    with arrangement.new_pool(2) as pool:
        short_heartbeats(pool)
        futures = [pool.submit(noted_sleep, ledger, task, 0.01) for task in range(300)]
        eventually(lambda: len(noted(ledger)) > 10, within=30)
        before = arrangement.parts(pool).manager
        before.suspend()
        assert [future.result(40) for future in futures] == list(range(300))
        eventually(lambda: not before.is_running())  # the tasks may be done before its remains are waited for
        for task, future in enumerate(futures):
            lost = 0 if future._record is None else len(future._record.attempts)
            assert noted(ledger)[task] <= 1 + lost


def test_a_stopped_fork_server_is_replaced_when_it_is_needed(arrangement: Arrangement) -> None:
    with arrangement.pool(2) as pool:
        parts = arrangement.parts(pool)
        workers = parts.workers
        parts.fork_server.suspend()
        for worker in workers:
            worker.kill()
        futures = [pool.submit(abs, -i) for i in range(20)]
        errors = [future.exception(40) for future in futures]
        assert [future.result() for future, error in zip(futures, errors) if not error]
        assert sum(isinstance(error, WorkerLost) for error in errors) <= 2


@pytest.mark.parametrize("part", ["interchange", "manager", "fork_server", "worker"])
def test_a_shutdown_ends_though_a_process_is_stopped(arrangement: Arrangement, part: str) -> None:
    with arrangement.new_pool(2) as pool:
        short_heartbeats(pool)
        assert pool.submit(abs, -1).result(30) == 1
        parts = arrangement.parts(pool)
        processes = parts.all()
        victim = parts.workers[0] if part == "worker" else getattr(parts, part)
        victim.suspend()
    eventually(lambda: not [process for process in processes if process.is_running()], within=10)


def test_a_stopped_pool_can_be_killed(arrangement: Arrangement, tmp_path: Path) -> None:
    with arrangement.pool(2) as pool:
        futures = [pool.submit(noted_sleep, tmp_path / "ledger", task, 30) for task in range(4)]
        eventually(lambda: len(noted(tmp_path / "ledger")) == 2)
        processes = arrangement.parts(pool).all()
        for process in processes:
            process.suspend()
        threading.Thread(target=pool.kill_workers).start()
        eventually(lambda: all(future.done() for future in futures), within=20)
        assert all(future.exception(0) for future in futures)
    eventually(lambda: not [process for process in processes if process.is_running()], within=10)
