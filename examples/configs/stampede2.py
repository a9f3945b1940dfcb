"""Stampede2 (TACC): Slurm, srun.

Runs on a login node. Parsl's documentation stages files by Globus here; there is no such staging yet.
"""

from parsl_pool import Config, HighThroughputExecutor
from parsl_pool.providers import SlurmProvider, SrunLauncher

PARTITION = "YOUR_PARTITION"
INTERFACE = "em3"
WORKER_INIT = ""


def config() -> Config:
    """One block of two nodes, which stays."""
    return Config(
        [
            HighThroughputExecutor(
                "Stampede2_HTEX",
                address=INTERFACE,
                max_workers_per_node=2,
                provider=SlurmProvider(
                    partition=PARTITION,
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
