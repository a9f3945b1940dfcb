"""A worker process for each processor of this machine."""

from __future__ import annotations

from parsl_pool.config import Config
from parsl_pool.executors.high_throughput.executor import HighThroughputExecutor


def __getattr__(name: str) -> Config:
    """`config`, a new one each time."""
    if name != "config":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return Config([HighThroughputExecutor("htex_local")])
