"""The backends: where tasks run.

A table of contents, for programs that look for executors here, as Parsl has them.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from parsl_pool.executors.high_throughput.executor import HighThroughputExecutor as HighThroughputExecutor
    from parsl_pool.executors.high_throughput.manager_order import BlockIdManagerSelector as BlockIdManagerSelector
    from parsl_pool.executors.high_throughput.manager_order import ManagerSelector as ManagerSelector
    from parsl_pool.executors.high_throughput.manager_order import RandomManagerSelector as RandomManagerSelector
    from parsl_pool.executors.mpi import MPIExecutor as MPIExecutor
    from parsl_pool.executors.threads import ThreadPoolExecutor as ThreadPoolExecutor

_HOMES = {
    "BlockIdManagerSelector": "parsl_pool.executors.high_throughput.manager_order",
    "HighThroughputExecutor": "parsl_pool.executors.high_throughput.executor",
    "ManagerSelector": "parsl_pool.executors.high_throughput.manager_order",
    "MPIExecutor": "parsl_pool.executors.mpi",
    "RandomManagerSelector": "parsl_pool.executors.high_throughput.manager_order",
    "ThreadPoolExecutor": "parsl_pool.executors.threads",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(_HOMES[name]), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})
