"""Frontera (TACC): Slurm, srun, InfiniBand.

Runs on a login node. For a try, two nodes of the `development` queue will do; a campaign takes 128 nodes and 56 workers
on each, one for each core.
"""

from parsl_pool import Config, HighThroughputExecutor
from parsl_pool.providers import SlurmProvider, SrunLauncher

ALLOCATION = "YOUR_ALLOCATION"
PARTITION = "normal"
INTERFACE = "ib0"  # of the login node: the one that the nodes reach; an address or a host name will do, too
WORKER_INIT = ""  # such as: module load python3; source ~/env/bin/activate


def config() -> Config:
    """One block of 128 nodes."""
    return Config(
        [
            HighThroughputExecutor(
                "frontera_htex",
                address=INTERFACE,
                max_workers_per_node=56,
                provider=SlurmProvider(
                    partition=PARTITION,
                    account=ALLOCATION,
                    nodes_per_block=128,
                    init_blocks=1,
                    min_blocks=1,
                    max_blocks=1,
                    walltime="02:00:00",
                    cmd_timeout=60,  # its scheduler can be slow to answer
                    worker_init=WORKER_INIT,
                    launcher=SrunLauncher(),
                ),
            )
        ]
    )
