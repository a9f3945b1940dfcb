"""CC-IN2P3 (Lyon): Grid Engine, one node a job. `cc_in2p3.toml` says the same.

Runs on a login node.
"""

from parsl_pool import Config, HighThroughputExecutor
from parsl_pool.providers import GridEngineProvider

SCHEDULER_OPTIONS = ""  # lines such as: #$ -l sps=1
WORKER_INIT = ""


def config() -> Config:
    """Two jobs of two workers each."""
    return Config(
        [
            HighThroughputExecutor(
                "cc_in2p3_htex",
                max_workers_per_node=2,
                provider=GridEngineProvider(
                    nodes_per_block=1,
                    init_blocks=2,
                    max_blocks=2,
                    walltime="00:20:00",
                    scheduler_options=SCHEDULER_OPTIONS,
                    worker_init=WORKER_INIT,
                ),
            )
        ]
    )
