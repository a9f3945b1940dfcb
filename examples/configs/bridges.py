"""Bridges (PSC): Slurm, srun, all hardware threads of a node for one worker.

Runs on a login node. Each block is two nodes for ten minutes.
"""

from parsl_pool import Config, HighThroughputExecutor
from parsl_pool.providers import SlurmProvider, SrunLauncher

PARTITION = "YOUR_PARTITION"  # such as RM-small
INTERFACE = "ens3f0"
WORKER_INIT = ""
GPUS = ""  # such as: #SBATCH --gres=gpu:p100:2


def config() -> Config:
    """One block of two nodes to begin with."""
    return Config(
        [
            HighThroughputExecutor(
                "Bridges_HTEX_multinode",
                address=INTERFACE,
                max_workers_per_node=1,
                provider=SlurmProvider(
                    PARTITION,
                    nodes_per_block=2,
                    init_blocks=1,
                    walltime="00:10:00",
                    cmd_timeout=120,
                    scheduler_options=GPUS,
                    worker_init=WORKER_INIT,
                    launcher=SrunLauncher(),
                ),
            )
        ]
    )
