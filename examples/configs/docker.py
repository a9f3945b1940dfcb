"""Workers in a Docker container on this machine; the same way takes podman, Apptainer or Shifter.

The container needs this Python and parsl_pool at the same paths, and sees the run's directory: here both lie below the
home. It shares the network of this machine, so the workers find the pool.
"""

import os

from parsl_pool import Config, HighThroughputExecutor
from parsl_pool.providers import LocalProvider, WrappedLauncher

IMAGE = "app1:v0.1"  # put in yours
HOME = os.path.expanduser("~")


def config() -> Config:
    """Two containers."""
    run = f"docker run --rm --init --network host --user {os.getuid()}:{os.getgid()} -v {HOME}:{HOME} {IMAGE}"
    return Config(
        [
            HighThroughputExecutor(
                "docker",
                address="127.0.0.1",  # and no unix socket, which would have to be visible in the container
                max_workers_per_node=1,
                provider=LocalProvider(init_blocks=2, max_blocks=2, launcher=WrappedLauncher(run)),
            )
        ]
    )
