"""10,000 tasks under way, and the pool's processes killed again and again at random moments.

Nothing hangs, no value is wrong, no task begins more often than its tries, and what fails is what was at work.
"""

import random
from collections.abc import Callable
from functools import partial
from pathlib import Path

import psutil
import pytest

from parsl_pool.errors import InterchangeLost, ManagerLost, WorkerLost
from parsl_pool.executors.high_throughput import recovery
from tests.eventually import eventually
from tests.recovery.arrangement import Arrangement, Parts
from tests.recovery.load import TASKS, Errors, Load

pytestmark = [pytest.mark.kill, pytest.mark.timeout(400)]

KILLS = 5
WORKERS = 3

Victim = Callable[[Parts, random.Random], psutil.Process]

VICTIMS: dict[str, Victim] = {
    "a worker": lambda parts, random: random.choice(parts.workers),
    "the fork server": lambda parts, _: parts.fork_server,
    "the manager": lambda parts, _: parts.manager,
    "the interchange": lambda parts, _: parts.interchange,
    "any process": lambda parts, random: random.choice(parts.all()),
}

# What a task may fail with when there is no try left, by what was killed.
NAMED: dict[str, Errors] = {
    "a worker": WorkerLost,
    "the fork server": WorkerLost,
    "the manager": ManagerLost,
    "the interchange": InterchangeLost,
    "any process": (WorkerLost, ManagerLost, InterchangeLost),
}

# How many tasks one kill may cost then. A manager apart takes with it what it had not yet handed on.
COSTS = {"a worker": 1, "the fork server": WORKERS}
MOST = 1000


@pytest.fixture(autouse=True)
def restarts_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """Four deaths of the interchange within ten seconds are taken for a fault that will stay; here they are us."""
    monkeypatch.setattr(recovery, "_RESTARTS", 1000)


@pytest.mark.parametrize("victim", VICTIMS)
@pytest.mark.parametrize("tries", [0, 100], ids=["no try left", "tries left"])
def test_kills_at_random_moments(
    arrangement: Arrangement, tmp_path: Path, kill_round: int, victim: str, tries: int
) -> None:
    if arrangement.inside and victim == "the manager":
        pytest.skip("inside the interchange, which has a test of its own")
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    choices = random.Random(seed)
    with arrangement.pool(WORKERS, retries=tries, lost_retries=tries) as pool:
        load = Load(pool, tmp_path / "ledger")
        find = partial(VICTIMS[victim], arrangement.parts(pool), choices)
        for _ in range(KILLS):
            # Some tasks in between: what dies three times before it has done anything is given up, rightly.
            kill_after(load, choices.randrange(100, 700), find)
        load.finish()
        failed = load.check(() if tries else NAMED[victim])
        assert failed <= KILLS * COSTS.get(victim, MOST)
        assert list(pool.map(abs, range(-50, 0), timeout=60)) == list(range(50, 0, -1))


def kill_after(load: Load, tasks: int, find: Callable[[], psutil.Process]) -> None:
    """Kill one when so many more tasks are done, and most of 10,000 are still under way."""
    while True:
        load.top_up()
        load.advance(tasks)
        if load.under_way < TASKS / 2:
            continue  # we were slow, and the pool was not
        process = eventually(find, within=60)  # the last to be killed may just be replaced
        try:
            process.kill()
            return
        except psutil.NoSuchProcess:  # a worker that went with the fork server, say
            tasks = 0
