"""Threads of this process: nothing is started, everything can be passed, and the GIL is shared."""

from parsl_pool import Config, ThreadPoolExecutor


def config() -> Config:
    """Eight threads."""
    return Config([ThreadPoolExecutor("local_threads", max_threads=8)])
