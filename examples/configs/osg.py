"""Open Science Grid: HTCondor, one core anywhere.

Runs on an access point. Each job makes its own Python environment, so it needs nothing there but modules. The run's
directory must be on a file system that the jobs see: managers find the pool by a file in it.
"""

from parsl_pool import Config, HighThroughputExecutor
from parsl_pool.providers import CondorProvider

PROJECT = "YOUR_PROJECT"
WORKER_INIT = """\
unset HOME PYTHONPATH
module load python
python3 -m venv env
source env/bin/activate
python3 -m pip install parsl_pool
"""


def config() -> Config:
    """Four jobs of one worker each."""
    return Config(
        [
            HighThroughputExecutor(
                "OSG_HTEX",
                max_workers_per_node=1,
                worker_logdir_root="$OSG_WN_TMP",
                worker_ports=(31000, 31001),  # those that the access point's firewall lets through
                provider=CondorProvider(
                    nodes_per_block=1,
                    init_blocks=4,
                    max_blocks=4,
                    walltime="00:20:00",
                    project=PROJECT,
                    requirements="HAS_MODULES =?= TRUE",
                    worker_init=WORKER_INIT,
                ),
            )
        ]
    )
