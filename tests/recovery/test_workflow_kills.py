"""Workflows while the pool's processes are killed: apps, joins, retries by a handler, known calls, checkpoints.

Nothing hangs, no value is wrong, what was known stays known, and a later run takes over all that this one has kept.
"""

from __future__ import annotations

import contextlib
import random
import time
from functools import partial
from pathlib import Path
from typing import Any

import psutil
import pytest

import parsl_pool
from parsl_pool import AppFuture, Config, HighThroughputExecutor, ParslPoolExecutor, ThreadPoolExecutor, python_app
from parsl_pool.executors.high_throughput import recovery
from tests.eventually import eventually
from tests.recovery.arrangement import Arrangement, shut_down
from tests.recovery.ledger import note, noted

pytestmark = [pytest.mark.kill, pytest.mark.timeout(200)]

BRANCHES = 60
KNOWN = 15
KILLS = 3


def known(path: Path, number: int) -> int:
    note(path, number)
    time.sleep(0.005)
    return number


def slow(number: int, *parts: int) -> int:
    time.sleep(0.01)
    return number + sum(parts)


class Workflow:
    """Branches: an app, a known call, a join of both, and a task that needs the join; a total over all of them."""

    def __init__(self, pool: ParslPoolExecutor, ledger: Path) -> None:
        self._pool, self._ledger = pool, ledger
        app = python_app(slow, data_flow_kernel=pool)
        kept = python_app(known, data_flow_kernel=pool, cache=True)
        handled = pool.options(retries=1, retry_handler=lambda *_: 0.001)
        joining = pool.options(join=True)
        self.branches: list[AppFuture[int]] = []
        for number in range(BRANCHES):
            parts = [app(number), kept(ledger, number % KNOWN)]
            joined = joining.submit(lambda *values: [pool.submit(slow, 0, value) for value in values], *parts)
            self.branches.append(handled.submit(slow, 1, joined[0], joined[1]))
        self.total = pool.submit(sum, self.branches)

    def done(self) -> int:
        return sum(branch.done() for branch in self.branches)

    def has_done(self, branches: int) -> bool:
        return self.done() >= branches

    def check(self) -> None:
        values = [1 + number + number % KNOWN for number in range(BRANCHES)]
        assert [branch.result(120) for branch in self.branches] == values
        assert self.total.result(120) == sum(values)
        flow: Any = self._pool._flow()
        eventually(lambda: not flow.is_busy(), within=20)
        assert not len(flow._kernel) and not flow.reuse._table._running


@pytest.mark.parametrize("victim", ["worker", "fork_server", "manager", "interchange"])
def test_a_workflow_outlives_kills(
    arrangement: Arrangement, tmp_path: Path, victim: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if arrangement.inside and victim == "manager":
        pytest.skip("inside the interchange, which has a test of its own")
    monkeypatch.setattr(recovery, "_RESTARTS", 1000)
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    chance = random.Random(seed)
    executor = HighThroughputExecutor(max_workers_per_node=2, manager_inside=arrangement.inside)
    config = Config(
        [executor], run_dir=tmp_path / "runs", retries=50, lost_retries=50, checkpoint_mode="task_exit"
    )
    pool = ParslPoolExecutor(config)
    try:
        workflow = Workflow(pool, tmp_path / "ledger")
        parts = arrangement.parts(pool)
        for _ in range(KILLS):
            # Something in between: what dies three times before it has done anything is given up, rightly.
            goal = workflow.done() + chance.randrange(2, BRANCHES // (KILLS + 1))
            eventually(partial(workflow.has_done, goal), within=60)
            with contextlib.suppress(psutil.NoSuchProcess):  # it has just gone by itself, with another
                found = eventually(lambda: parts.workers if victim == "worker" else [getattr(parts, victim)], within=60)
                chance.choice(found).kill()
        workflow.check()
        begun = noted(tmp_path / "ledger")
        assert set(begun) == set(range(KNOWN))
        assert begun.total() <= KNOWN + 2 * KILLS  # twice only what was at work when something died
    finally:
        shut_down(pool)
    later = Config([ThreadPoolExecutor()], checkpoint_files=parsl_pool.get_all_checkpoints(tmp_path / "runs"))
    with ParslPoolExecutor(later) as again:
        kept = python_app(known, data_flow_kernel=again, cache=True)
        futures = [kept(tmp_path / "ledger", number) for number in range(KNOWN)]
        assert [future.result(20) for future in futures] == list(range(KNOWN))
        assert {future.task_status() for future in futures} == {"memo_done"}
