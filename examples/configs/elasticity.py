"""This machine, in one or two blocks: a small thing to see scaling with.

Two workers in each block; with parallelism=0.5 a second block comes when more than two tasks wait for each worker that
there is room for.
"""

from parsl_pool import Config, HighThroughputExecutor
from parsl_pool.providers import LocalProvider


def config() -> Config:
    """Never fewer than one block, never more than two."""
    return Config(
        [
            HighThroughputExecutor(
                "local_htex",
                max_workers_per_node=2,
                provider=LocalProvider(
                    min_blocks=1,
                    init_blocks=1,
                    max_blocks=2,
                    nodes_per_block=1,
                    parallelism=0.5,
                ),
            )
        ]
    )
