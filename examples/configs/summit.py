"""Summit (ORNL): LSF, jsrun. `summit.toml` says the same.

Runs on a login node, in a directory that the nodes can write to: below /gpfs/alpine, and not the home.
"""

from parsl_pool import Config, HighThroughputExecutor
from parsl_pool.providers import JsrunLauncher, LSFProvider

PROJECT = "YOUR_PROJECT"
INTERFACE = "ib0"
RUN_DIR = "runinfo"  # such as /gpfs/alpine/world-shared/YOUR_PROJECT/runinfo
WORKER_INIT = ""


def config() -> Config:
    """At most one block of two nodes."""
    return Config(
        [
            HighThroughputExecutor(
                "Summit_HTEX",
                address=INTERFACE,
                worker_port_range=(50000, 55000),
                provider=LSFProvider(
                    project=PROJECT,
                    nodes_per_block=2,
                    init_blocks=1,
                    max_blocks=1,
                    walltime="00:10:00",
                    cmd_timeout=60,
                    worker_init=WORKER_INIT,
                    launcher=JsrunLauncher(),
                ),
            )
        ],
        run_dir=RUN_DIR,
    )
