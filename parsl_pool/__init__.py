"""parsl_pool: Python functions and shell commands in parallel, from a laptop to a supercomputer.

A table of contents: names are loaded when they are first used, so that importing the package costs nothing.
"""

from __future__ import annotations

import sys

from parsl_pool._version import __version__

if sys.platform == "win32":  # here, before something else is missing with a text that says nothing
    from parsl_pool.errors import UnsupportedPlatform

    raise UnsupportedPlatform("parsl_pool does not run on Windows; use it in WSL, or on Linux or macOS")

TYPE_CHECKING = False  # checkers know the name; taking it from `typing` would load that, and much with it
if TYPE_CHECKING:
    from typing import Any

    from parsl_pool.config import Config as Config
    from parsl_pool.executor import ParslPoolExecutor as ParslPoolExecutor
    from parsl_pool.executors.high_throughput.executor import HighThroughputExecutor as HighThroughputExecutor
    from parsl_pool.executors.threads import ThreadPoolExecutor as ThreadPoolExecutor
    from parsl_pool.futures import AppFuture as AppFuture

_HOMES = {
    "AppFuture": "parsl_pool.futures",
    "Config": "parsl_pool.config",
    "HighThroughputExecutor": "parsl_pool.executors.high_throughput.executor",
    "ParslPoolExecutor": "parsl_pool.executor",
    "ThreadPoolExecutor": "parsl_pool.executors.threads",
}

__all__ = [
    "AppFuture",
    "Config",
    "HighThroughputExecutor",
    "ParslPoolExecutor",
    "ThreadPoolExecutor",
    "__version__",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module  # now that something is loaded

    value = globals()[name] = getattr(import_module(_HOMES[name]), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})
