"""Illinois Campus Cluster (UIUC): Slurm, srun, one worker that has the whole node.

Runs on a login node. Each block is two nodes for ten minutes.
"""

from parsl_pool import Config, HighThroughputExecutor
from parsl_pool.providers import SlurmProvider, SrunLauncher

PARTITION = "secondary-fdr"
WORKER_INIT = "conda activate YOUR_ENVIRONMENT"


def config() -> Config:
    """At most one block of two nodes."""
    return Config(
        [
            HighThroughputExecutor(
                "CC_htex",
                cores_per_worker=16,  # as many as a node has
                worker_debug=False,
                provider=SlurmProvider(
                    partition=PARTITION,
                    nodes_per_block=2,
                    init_blocks=1,
                    max_blocks=1,
                    walltime="00:10:00",
                    cmd_timeout=60,
                    worker_init=WORKER_INIT,
                    launcher=SrunLauncher(),
                ),
            )
        ]
    )
