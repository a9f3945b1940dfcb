"""This machine, as a cluster of one: a worker process for each processor, with logs of their tasks."""

from parsl_pool import Config, HighThroughputExecutor
from parsl_pool.providers import LocalChannel, LocalProvider


def config() -> Config:
    """One block of this machine, which stays."""
    return Config(
        [
            HighThroughputExecutor(
                "htex_local",
                worker_debug=True,
                cores_per_worker=1,
                provider=LocalProvider(channel=LocalChannel(), init_blocks=1, max_blocks=1),
            )
        ],
        strategy="none",
    )
