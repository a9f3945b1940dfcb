"""Expanse (SDSC): Slurm, srun. `expanse.toml` says the same.

Runs on a login node.
"""

from parsl_pool import Config, HighThroughputExecutor
from parsl_pool.providers import SlurmProvider, SrunLauncher

ALLOCATION = "YOUR_ALLOCATION"
WORKER_INIT = ""


def config() -> Config:
    """At most one block of two nodes, for an hour."""
    return Config(
        [
            HighThroughputExecutor(
                "Expanse_CPU_Multinode",
                max_workers_per_node=32,
                provider=SlurmProvider(
                    "compute",
                    account=ALLOCATION,
                    nodes_per_block=2,
                    init_blocks=1,
                    max_blocks=1,
                    walltime="01:00:00",
                    worker_init=WORKER_INIT,
                    launcher=SrunLauncher(),
                ),
            )
        ]
    )
