"""Perlmutter (NERSC): Slurm, srun, nodes with four GPUs.

Runs on a login node. NERSC's own pages say what queues and limits there are now.
"""

from parsl_pool import Config, HighThroughputExecutor
from parsl_pool.providers import SlurmProvider, SrunLauncher

ACCOUNT = "YOUR_ACCOUNT"
QOS = "debug"  # or regular, for campaigns
WORKER_INIT = "module load python"


def config() -> Config:
    """One block of two GPU nodes, a worker for each GPU."""
    return Config(
        [
            HighThroughputExecutor(
                "perlmutter_gpu",
                available_accelerators=4,
                provider=SlurmProvider(
                    account=ACCOUNT,
                    qos=QOS,
                    constraint="gpu",
                    nodes_per_block=2,
                    init_blocks=1,
                    max_blocks=1,
                    walltime="00:30:00",
                    scheduler_options="#SBATCH --gpus-per-node=4",
                    cmd_timeout=120,
                    worker_init=WORKER_INIT,
                    launcher=SrunLauncher(overrides="--gpus-per-task=4"),
                ),
            )
        ]
    )
