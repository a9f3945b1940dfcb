"""Blocks of a LocalProvider for real: they come with the load, and go without it."""

import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from parsl_pool import Config, HighThroughputExecutor, ParslPoolExecutor
from parsl_pool.errors import PoolBroken
from parsl_pool.providers import JobState, JobStatus, LocalProvider
from tests.eventually import eventually
from tests.recovery.arrangement import shut_down

pytestmark = pytest.mark.timeout(120)


@contextmanager
def pool_of(provider: Any, strategy: str = "htex_auto_scale", **options: Any) -> Iterator[ParslPoolExecutor]:
    options = {"max_workers_per_node": 1, "manager_inside": False, **options}
    executor = HighThroughputExecutor("near", provider=provider, **options)
    config = Config([executor], strategy=strategy, max_idletime=1.0, strategy_period=0.2, run_dir=None)
    pool = ParslPoolExecutor(config)
    try:
        yield pool
    finally:
        shut_down(pool)


def waits_for(path: str) -> str:
    """The block in which it runs, once the file is there."""
    while not os.path.exists(path):
        time.sleep(0.01)
    return f"{os.getppid()}"


def up(executor: Any) -> int:
    return sum(len(block.managers) > 0 for block in executor.keeper.table.blocks.values())


@pytest.mark.parametrize("strategy", ["simple", "htex_auto_scale"])
def test_from_none_to_three_blocks_under_load_and_back_to_none(strategy: str, tmp_path: Path) -> None:
    provider = LocalProvider(init_blocks=0, max_blocks=3)
    with pool_of(provider, strategy) as pool:
        executor = pool.executors["near"]
        futures = [pool.submit(waits_for, str(tmp_path / "gate")) for _ in range(20)]
        eventually(lambda: up(executor) == 3, within=30)
        assert len(executor.keeper.table.blocks) == 3, "never more"
        (tmp_path / "gate").touch()
        assert len({future.result(30) for future in futures}) > 1
        eventually(lambda: up(executor) == 0, within=30)
        eventually(lambda: all(status.terminal for status in executor.status().values()), within=30)
        assert JobState.FAILED not in [status.state for status in executor.status().values()]
        assert pool.submit(max, 3, 4).result(30) == 4, "and from none again"
        assert pool.status().retried == 0


def test_a_busy_block_stays_while_idle_ones_go(tmp_path: Path) -> None:
    with pool_of(LocalProvider(init_blocks=3, max_blocks=3)) as pool:
        executor = pool.executors["near"]
        future = pool.submit(waits_for, str(tmp_path / "gate"))
        eventually(future.running, within=30)
        eventually(lambda: [status.terminal for status in executor.status().values()].count(True) == 2, within=30)
        assert not future.done() and len(executor.status()) == 3 and up(executor) == 1
        (tmp_path / "gate").touch()
        future.result(30)
        assert pool.status().retried == 0


def test_a_block_that_is_lost_is_replaced_only_if_it_is_called_for(tmp_path: Path) -> None:
    with pool_of(LocalProvider(init_blocks=1, max_blocks=1)) as pool:
        executor: Any = pool.executors["near"]
        future = pool.submit(waits_for, str(tmp_path / "gate"))
        eventually(future.running, within=30)
        (manager,) = executor.workers.managers.values()
        os.kill(manager.pid, signal.SIGKILL)
        eventually(lambda: up(executor) == 1 and len(executor.status()) == 2, within=30)
        (tmp_path / "gate").touch()
        future.result(30)
        executor.scale_in(1)
        eventually(lambda: all(status.terminal for status in executor.status().values()))
        assert len(executor.status()) == 2


def test_with_none_nothing_is_replaced_and_what_waits_is_told(tmp_path: Path) -> None:
    provider = LocalProvider(worker_init="echo no licence today; exit 0", init_blocks=2, max_blocks=4)
    with pool_of(provider, "none") as pool:
        error = pool.submit(max, 3, 4).exception(30)
        assert isinstance(error, PoolBroken), error
        assert "all 2 blocks have ended" in str(error) and "no licence today" in str(error)
        states = [status.state for status in pool.executors["near"].status().values()]
        assert states == [JobState.MISSING, JobState.MISSING]


class Own(Exception):
    """An error of the user's."""


def test_the_users_handler_decides_and_every_task_has_its_error() -> None:
    seen: list[dict[str, Any]] = []

    def handler(executor: Any, status: dict[str, Any]) -> None:
        seen.append({block: one.state for block, one in status.items()})
        if len(status) > 1:
            executor.set_bad_state_and_fail_all(Own(list(status.values())[-1].message))

    with pool_of(LocalProvider(worker_init="echo no luck >&2; exit 3"), block_error_handler=handler) as pool:
        executor = pool.executors["near"]
        futures = [pool.submit(max, 3, number) for number in range(100)]
        assert {type(future.exception(30)) for future in futures} == {Own}
        assert "no luck" in str(futures[0].exception())
        with pytest.raises(Own):
            pool.submit(max, 3, 4)
        with pytest.raises(Own):
            executor.submit(max, {}, 3, 4)
        assert executor.bad_state_is_set and isinstance(executor.executor_exception, Own)
    assert seen[0] == {"0": JobState.MISSING} and len(seen[-1]) == 2


def test_without_a_handler_blocks_are_tried_again_until_one_works(tmp_path: Path) -> None:
    tries = f"echo x >> {tmp_path}/tries; test $(wc -l < {tmp_path}/tries) -gt 4 || exit 3"
    with pool_of(LocalProvider(worker_init=tries), block_error_handler=False) as pool:
        assert pool.submit(max, 3, 4).result(60) == 4
        states = [status.state for status in pool.executors["near"].status().values()]
        assert states == [JobState.MISSING] * 4 + [JobState.RUNNING]


@pytest.fixture
def near() -> Iterator[Callable[[], Any]]:
    made: list[Any] = []

    def make() -> Any:
        made.append(HighThroughputExecutor("near", max_workers_per_node=1, manager_inside=True))
        return made[-1]

    yield make
    for executor in made:
        executor.shutdown()


def test_a_manager_inside_has_one_block_which_is_fixed(near: Callable[[], Any]) -> None:
    from parsl_pool.errors import ScalingFailed

    executor = near()
    with pytest.raises(ScalingFailed, match="manager_inside=False"):
        executor.scale_out()
    assert executor.status() == {} and executor.submit(max, {}, 3, 4).result(30) == 4


def test_what_runs_in_a_block_that_is_ended_by_hand_runs_again_elsewhere(tmp_path: Path) -> None:
    with pool_of(LocalProvider(init_blocks=1, max_blocks=1), "simple") as pool:
        executor: Any = pool.executors["near"]
        future = pool.submit(waits_for, str(tmp_path / "gate"))
        eventually(future.running, within=30)
        assert executor.scale_in(1) == ["0"]
        eventually(lambda: up(executor) == 1 and len(executor.status()) == 2, within=30)
        (tmp_path / "gate").touch()
        future.result(30)
        assert pool.status().retried == 1 and executor.status()["0"].state is JobState.CANCELLED


class Timed(LocalProvider):
    """Says of the jobs in a list that their walltime has ended them."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.over: list[str] = []

    def status(self, job_ids: Any) -> list[JobStatus]:
        told = super().status(job_ids)
        return [JobStatus(JobState.TIMEOUT) if job in self.over else one for job, one in zip(job_ids, told)]


def test_the_end_of_a_job_is_the_end_of_managers_that_are_not_heard_of(tmp_path: Path) -> None:
    """On another host nobody sees a process end. Here it is stopped, which looks the same."""
    provider = Timed(init_blocks=1, max_blocks=1)
    with pool_of(provider, heartbeat_period=100, heartbeat_threshold=1000) as pool:
        executor: Any = pool.executors["near"]
        future = pool.submit(waits_for, str(tmp_path / "gate"))
        eventually(future.running, within=30)
        (manager,) = executor.workers.managers.values()
        os.kill(manager.pid, signal.SIGSTOP)
        provider.over = [executor.keeper.table.blocks["0"].job]
        eventually(lambda: up(executor) == 1 and len(executor.status()) == 2, within=60)
        (tmp_path / "gate").touch()
        future.result(30)
        assert executor.status()["0"].state is JobState.TIMEOUT
        os.kill(manager.pid, signal.SIGKILL)


def test_an_executor_that_is_added_later_scales_as_the_others_do() -> None:
    with pool_of(LocalProvider(init_blocks=0, max_blocks=1), "none") as pool:
        later = HighThroughputExecutor("later", max_workers_per_node=1, provider=LocalProvider(init_blocks=0))
        pool.add_executors([later])
        assert (later.strategy, later.max_idletime, later.strategy_period) == ("none", 1.0, 0.2)
        assert later.scale_out() == ["0"]
        assert pool.options(executors=["later"]).submit(max, 3, 4).result(30) == 4
        assert list(pool.executors["near"].status()) == []


def test_executors_of_one_run_have_managers_of_their_own() -> None:
    """They share its directory, and neither the ticket nor the socket in it."""
    provider = LocalProvider(init_blocks=2, min_blocks=2, max_blocks=2)
    with pool_of(LocalProvider(init_blocks=2, min_blocks=2, max_blocks=2)) as pool:
        later = HighThroughputExecutor("later", max_workers_per_node=1, provider=provider)
        pool.add_executors([later])
        executors: list[Any] = list(pool.executors.values())
        eventually(lambda: [sorted(one.connected_blocks()) for one in executors] == [["0", "1"]] * 2, within=30)
        for label in ("near", "later"):
            assert pool.options(executors=[label]).submit(max, 3, 4).result(30) == 4


class Radio:
    """Keeps what it is told; the first time it fails."""

    def __init__(self) -> None:
        self.rows: list[dict[str, Any]] = []
        self.failures = 0

    def send(self, rows: list[dict[str, Any]]) -> None:
        if not self.failures:
            self.failures = 1
            raise ConnectionError("not yet")
        self.rows += rows


def test_whoever_keeps_the_states_of_blocks_is_told_of_each_change() -> None:
    radio = Radio()
    with pool_of(LocalProvider(init_blocks=0, max_blocks=1), "none") as pool:
        executor: Any = pool.executors["near"]
        executor.monitoring_radio = radio
        executor.scale_out()
        assert pool.submit(max, 3, 4).result(30) == 4
        eventually(lambda: radio.failures, within=30)
        executor.poll_facade()
        executor.scale_in_facade(1)
        eventually(lambda: radio.rows and radio.rows[-1]["status"] == "CANCELLED", within=30)
    states = [row["status"] for row in radio.rows]
    assert states in (["RUNNING", "CANCELLED"], ["CANCELLED"]), "it may have been up before it was looked at"
    (job,) = {row["job_id"] for row in radio.rows}
    assert job == executor.keeper.job_ids()["0"] and {row["block_id"] for row in radio.rows} == {"0"}
    assert {row["executor_label"] for row in radio.rows} == {"near"}
    times = [row["timestamp"] for row in radio.rows]
    assert times == sorted(times) and all(time.tzinfo for time in times)
