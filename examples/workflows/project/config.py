"""Where the program runs. A larger machine is another function here, and nothing else changes."""

from parsl_pool import Config, HighThroughputExecutor


def laptop():
    return Config([HighThroughputExecutor(max_workers_per_node=2)])
