"""Threads of this process: nothing is started, and everything can be passed."""

from __future__ import annotations

from parsl_pool.config import Config
from parsl_pool.executors.threads import ThreadPoolExecutor


def __getattr__(name: str) -> Config:
    """`config`, a new one each time."""
    if name != "config":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return Config([ThreadPoolExecutor("threads", max_threads=8)])
