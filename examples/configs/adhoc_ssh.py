"""Machines without a scheduler: any that you can log in to by SSH without a password.

A manager on each; `adhoc_ssh.toml` says the same. The strategy must be "none": there are so many machines, and no more.
"""

from parsl_pool import Config, HighThroughputExecutor
from parsl_pool.providers import AdHocProvider, SSHChannel

USER = "YOUR_USERNAME"
SCRIPTS = "/home/YOUR_USERNAME/parsl_pool_scripts"
HOSTS = ["first.example.org", "second.example.org"]
WORKER_INIT = ""


def config() -> Config:
    """Two workers on each machine."""
    channels = [SSHChannel(hostname=host, username=USER, script_dir=SCRIPTS) for host in HOSTS]
    return Config(
        [
            HighThroughputExecutor(
                "remote_htex",
                max_workers_per_node=2,
                worker_logdir_root=SCRIPTS,
                provider=AdHocProvider(channels=channels, worker_init=WORKER_INIT),
            )
        ],
        strategy="none",
    )
