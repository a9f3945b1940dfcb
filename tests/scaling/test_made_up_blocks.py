"""Many blocks of a made-up cluster: they wait, fail, are taken away, and come and go by the load all the same."""

import pytest

from parsl_pool import Config, HighThroughputExecutor, ParslPoolExecutor
from parsl_pool.providers import JobState, SimulatedProvider
from parsl_pool.simulation import last
from tests.eventually import eventually

pytestmark = pytest.mark.timeout(120)

MOST = 30


def test_a_load_is_done_by_blocks_of_which_many_fail_and_then_all_go() -> None:
    provider = SimulatedProvider(
        nodes=MOST, init_blocks=0, max_blocks=MOST, queue_wait=(1, 30), start_time=(1, 5), failure_rate=0.1,
        preemption_rate=5, speed=60, seed=7,
    )  # fmt: skip
    executor = HighThroughputExecutor(
        "made-up", provider=provider, max_workers_per_node=4, heartbeat_period=0.2, heartbeat_threshold=3.0
    )
    config = Config(
        [executor], strategy="htex_auto_scale", max_idletime=1.0, strategy_period=0.2, lost_retries=100, run_dir=None
    )
    with ParslPoolExecutor(config) as pool:
        futures = [pool.submit(last, 60.0, number) for number in range(600)]
        held: list[int] = []
        while not all(future.done() for future in futures):
            futures[len(held) % len(futures)].exception(60)
            table = executor.keeper.table
            held.append(len(table.capacity()) + len(table.leaving()))
        assert [future.result() for future in futures] == list(range(600))
        assert max(held) == MOST
        eventually(lambda: not executor.keeper.table.capacity() and not executor.keeper.table.leaving(), within=60)
        states = [status.state for status in executor.status().values()]
        assert states.count(JobState.MISSING) > 0 and len(states) > MOST and not executor.bad_state_is_set
