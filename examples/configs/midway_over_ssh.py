"""Midway (RCC, University of Chicago) from a laptop: Slurm's commands run on a login node, over SSH.

Neither the laptop nor the login node opens a port: workers reach the pool through a tunnel on the same connection. The
login node needs the same Python and parsl_pool.
"""

from parsl_pool import Config, HighThroughputExecutor
from parsl_pool.providers import SlurmProvider, SSHChannel

HOST = "midway.rcc.uchicago.edu"
USER = "YOUR_USERNAME"
SCRIPTS = "/home/YOUR_USERNAME/parsl_pool_scripts"  # on a file system that the nodes see
PARTITION = "YOUR_PARTITION"
WORKER_INIT = "module load python"


def config() -> Config:
    """One node to begin with, two at most."""
    return Config(
        [
            HighThroughputExecutor(
                "midway_ssh",
                address="tunnel",
                max_workers_per_node=4,
                provider=SlurmProvider(
                    PARTITION,
                    channel=SSHChannel(hostname=HOST, username=USER, script_dir=SCRIPTS),
                    nodes_per_block=1,
                    init_blocks=1,
                    min_blocks=1,
                    max_blocks=2,
                    parallelism=0.5,
                    worker_init=WORKER_INIT,
                ),
            )
        ]
    )
