"""MPI programs as tasks on Polaris (ALCF): each has some nodes of the block for itself, and is started by mpiexec.

Runs on a login node. One manager in a block, on its first node, gives out all of them. `polaris.py` is for tasks that
take a worker each.
"""

from parsl_pool import Config, MPIExecutor
from parsl_pool.providers import PBSProProvider, SimpleLauncher

ACCOUNT = "YOUR_ACCOUNT"
QUEUE = "debug-scaling"
FILESYSTEMS = "home:eagle"  # those that your data is on
INTERFACE = "bond0"
WORKER_INIT = "module load conda; conda activate YOUR_ENVIRONMENT"


def config() -> Config:
    """One block of eight nodes, with as many programs at a time, at most."""
    return Config(
        [
            MPIExecutor(
                "polaris_mpi",
                mpi_launcher="mpiexec",
                max_workers_per_block=8,
                address=INTERFACE,
                provider=PBSProProvider(
                    account=ACCOUNT,
                    queue=QUEUE,
                    nodes_per_block=8,
                    cpus_per_node=64,
                    select_options="ngpus=4",
                    walltime="01:00:00",
                    scheduler_options=f"#PBS -l filesystems={FILESYSTEMS}\n#PBS -l place=scatter",
                    worker_init=WORKER_INIT,
                    launcher=SimpleLauncher(),
                ),
            )
        ]
    )
