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

    from parsl_pool import addresses as addresses
    from parsl_pool import configs as configs
    from parsl_pool import errors as errors
    from parsl_pool import executors as executors
    from parsl_pool import providers as providers
    from parsl_pool import task as task
    from parsl_pool.apps import bash_app as bash_app
    from parsl_pool.apps import join_app as join_app
    from parsl_pool.apps import python_app as python_app
    from parsl_pool.config import Config as Config
    from parsl_pool.executor import ParslPoolExecutor as ParslPoolExecutor
    from parsl_pool.executors.high_throughput.executor import HighThroughputExecutor as HighThroughputExecutor
    from parsl_pool.executors.mpi import MPIExecutor as MPIExecutor
    from parsl_pool.executors.threads import ThreadPoolExecutor as ThreadPoolExecutor
    from parsl_pool.files import File as File
    from parsl_pool.futures import AppFuture as AppFuture
    from parsl_pool.futures.data_future import DataFuture as DataFuture
    from parsl_pool.logs import set_file_logger as set_file_logger
    from parsl_pool.logs import set_stream_logger as set_stream_logger
    from parsl_pool.memoization.checkpoints import get_all_checkpoints as get_all_checkpoints
    from parsl_pool.memoization.checkpoints import get_last_checkpoint as get_last_checkpoint
    from parsl_pool.memoization.keys import id_for_memo as id_for_memo
    from parsl_pool.objects import Ref as Ref
    from parsl_pool.session import clear as clear
    from parsl_pool.session import dfk as dfk
    from parsl_pool.session import load as load
    from parsl_pool.session import wait_for_current_tasks as wait_for_current_tasks
    from parsl_pool.streams import AUTO_LOGNAME as AUTO_LOGNAME

_HOMES = {
    "AUTO_LOGNAME": "parsl_pool.streams",
    "AppFuture": "parsl_pool.futures",
    "Config": "parsl_pool.config",
    "DataFuture": "parsl_pool.futures.data_future",
    "File": "parsl_pool.files",
    "HighThroughputExecutor": "parsl_pool.executors.high_throughput.executor",
    "MPIExecutor": "parsl_pool.executors.mpi",
    "ParslPoolExecutor": "parsl_pool.executor",
    "Ref": "parsl_pool.objects",
    "ThreadPoolExecutor": "parsl_pool.executors.threads",
    "bash_app": "parsl_pool.apps",
    "clear": "parsl_pool.session",
    "dfk": "parsl_pool.session",
    "get_all_checkpoints": "parsl_pool.memoization.checkpoints",
    "get_last_checkpoint": "parsl_pool.memoization.checkpoints",
    "id_for_memo": "parsl_pool.memoization.keys",
    "join_app": "parsl_pool.apps",
    "load": "parsl_pool.session",
    "python_app": "parsl_pool.apps",
    "set_file_logger": "parsl_pool.logs",
    "set_stream_logger": "parsl_pool.logs",
    "wait_for_current_tasks": "parsl_pool.session",
}

__all__ = [
    "AUTO_LOGNAME",
    "AppFuture",
    "Config",
    "DataFuture",
    "File",
    "HighThroughputExecutor",
    "MPIExecutor",
    "ParslPoolExecutor",
    "Ref",
    "ThreadPoolExecutor",
    "__version__",
    "bash_app",
    "clear",
    "dfk",
    "get_all_checkpoints",
    "get_last_checkpoint",
    "id_for_memo",
    "join_app",
    "load",
    "python_app",
    "set_file_logger",
    "set_stream_logger",
    "task",
    "wait_for_current_tasks",
]


_MODULES = ("addresses", "config", "configs", "errors", "executors", "providers", "task")


def __getattr__(name: str) -> Any:
    if name not in _HOMES and name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module  # now that something is loaded

    if name in _MODULES:
        return import_module(f"parsl_pool.{name}")
    value = globals()[name] = getattr(import_module(_HOMES[name]), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES, *_MODULES})
