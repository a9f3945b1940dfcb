"""ASPIRE 1 (NSCC Singapore): PBS Professional, mpirun, with checkpoints.

Runs on a login node. `#PBS -J 1-10` in SCHEDULER_OPTIONS makes each block an array of ten jobs; that multiplies what is
asked for by ten, which no count of blocks shows.
"""

from parsl_pool import Config, HighThroughputExecutor
from parsl_pool.providers import MpiRunLauncher, PBSProProvider

INTERFACE = "ib0"
SCHEDULER_OPTIONS = "#PBS -J 1-10"
WORKER_INIT = ""


def config() -> Config:
    """Three to five blocks of three nodes each, for a day."""
    return Config(
        [
            HighThroughputExecutor(
                "htex",
                heartbeat_period=15,
                heartbeat_threshold=120,
                worker_debug=True,
                max_workers_per_node=4,
                address=INTERFACE,
                provider=PBSProProvider(
                    nodes_per_block=3,
                    init_blocks=3,
                    min_blocks=3,
                    max_blocks=5,
                    cpus_per_node=24,
                    walltime="24:00:00",  # what the medium queue allows
                    scheduler_options=SCHEDULER_OPTIONS,
                    worker_init=WORKER_INIT,
                    launcher=MpiRunLauncher(),
                ),
            )
        ],
        strategy="simple",
        retries=3,
        app_cache=True,
        checkpoint_mode="task_exit",
    )
