"""Why a block waits, in the scheduler's words and in plain ones, where people look."""

from pathlib import Path

import pytest

from parsl_pool import Config, HighThroughputExecutor, ParslPoolExecutor
from parsl_pool.providers import SlurmProvider
from tests.doctor.conftest import Cluster
from tests.eventually import eventually


@pytest.mark.timeout(60)
def test_a_pool_says_why_its_block_waits(cluster: Cluster, tmp_path: Path) -> None:
    provider = SlurmProvider(worker_init=": hold")
    provider.status_polling_interval = 0.2
    executor = HighThroughputExecutor("site", max_workers_per_node=1, provider=provider)
    pool = ParslPoolExecutor(Config([executor], run_dir=tmp_path / "runs"))
    future = pool.submit(abs, -1)
    try:
        says = "its scheduler says: JobHeldUser (it is held, by you"
        assert eventually(lambda: says in pool.explain()), pool.explain()
        (status,) = executor.status().values()
        assert (status.status_name, status.message) == ("HELD", "JobHeldUser")
    finally:
        future.cancel()
        pool.kill_workers()
