"""The TOSS3 machines of LLNL (Quartz, Ruby, Topaz, Jade, Magma): Slurm, srun.

Runs on a login node. Parsl's documentation uses its FluxExecutor here; the HighThroughputExecutor does without Flux.
`--mpibind=off` keeps the site's srun from binding all workers of a node to its first cores.
"""

from parsl_pool import Config, HighThroughputExecutor
from parsl_pool.providers import SlurmProvider, SrunLauncher

PARTITION = "YOUR_PARTITION"  # such as pbatch, pdebug
ACCOUNT = "YOUR_ACCOUNT"
WORKER_INIT = ""


def config() -> Config:
    """One node, which stays."""
    return Config(
        [
            HighThroughputExecutor(
                "toss3",
                provider=SlurmProvider(
                    partition=PARTITION,
                    account=ACCOUNT,
                    nodes_per_block=1,
                    init_blocks=1,
                    min_blocks=1,
                    max_blocks=1,
                    walltime="00:30:00",
                    cmd_timeout=120,
                    worker_init=WORKER_INIT,
                    launcher=SrunLauncher(overrides="--mpibind=off"),
                ),
            )
        ]
    )
