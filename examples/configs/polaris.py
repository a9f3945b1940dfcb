"""Polaris (ALCF): PBS Professional, mpiexec, nodes with 32 cores, 64 threads and four GPUs.

Runs on a login node. A worker for each GPU, and the cores shared out among the four.
"""

from parsl_pool import Config, HighThroughputExecutor
from parsl_pool.providers import MpiExecLauncher, PBSProProvider

ACCOUNT = "YOUR_ACCOUNT"
QUEUE = "prod"
FILESYSTEMS = "home:eagle"  # those that your data is on
INTERFACE = "bond0"
NODES = 128
WORKER_INIT = "module load conda; conda activate YOUR_ENVIRONMENT"


def config() -> Config:
    """One block of 128 nodes for an hour; a task that fails is tried once more."""
    return Config(
        [
            HighThroughputExecutor(
                "polaris",
                available_accelerators=4,
                cpu_affinity="alternating",
                address=INTERFACE,
                provider=PBSProProvider(
                    account=ACCOUNT,
                    queue=QUEUE,
                    nodes_per_block=NODES,
                    cpus_per_node=64,
                    select_options="ngpus=4",
                    walltime="01:00:00",
                    scheduler_options=f"#PBS -l filesystems={FILESYSTEMS}",
                    worker_init=WORKER_INIT,
                    # One manager a node, which may use all its threads.
                    launcher=MpiExecLauncher(bind_cmd="--cpu-bind", overrides="--depth=64 --ppn 1"),
                ),
            )
        ],
        retries=1,
    )
