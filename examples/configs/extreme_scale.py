"""What Parsl's ExtremeScaleExecutor was for: few connections to many workers, started when they are needed.

There is no such executor here, and need be none: each node has one connection, however many workers it has. In a real
job, `provider` is a batch scheduler's, and `launcher` one that reaches all nodes of a block.
"""

from parsl_pool import Config, HighThroughputExecutor
from parsl_pool.providers import LocalProvider, SimpleLauncher


def config() -> Config:
    """No block until there are tasks, then one with four workers."""
    return Config(
        [
            HighThroughputExecutor(
                "extreme_local",
                max_workers_per_node=4,
                provider=LocalProvider(init_blocks=0, max_blocks=1, launcher=SimpleLauncher()),
            )
        ]
    )
