"""Midway (RCC, University of Chicago): Slurm, srun.

Runs on a login node.
"""

from parsl_pool import Config, HighThroughputExecutor
from parsl_pool.providers import SlurmProvider, SrunLauncher

PARTITION = "YOUR_PARTITION"  # such as broadwl
INTERFACE = "bond0"
WORKER_INIT = ""
CONSTRAINT = None  # such as "knl&quad&cache"


def config() -> Config:
    """One block of two nodes, which stays."""
    return Config(
        [
            HighThroughputExecutor(
                "Midway_HTEX_multinode",
                address=INTERFACE,
                worker_debug=False,
                max_workers_per_node=2,
                provider=SlurmProvider(
                    PARTITION,
                    constraint=CONSTRAINT,
                    nodes_per_block=2,
                    init_blocks=1,
                    min_blocks=1,
                    max_blocks=1,
                    walltime="00:30:00",
                    worker_init=WORKER_INIT,
                    launcher=SrunLauncher(),
                ),
            )
        ]
    )
