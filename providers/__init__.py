"""How machines are obtained: providers (what a block is), launchers (how it starts), states (how it fares).

A table of contents; each name is loaded when it is first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from parsl_pool.providers.base import BlockLimits, ExecutionProvider
    from parsl_pool.providers.launchers import (
        Launcher,
        SimpleLauncher,
        SingleNodeLauncher,
        WrappedLauncher,
        check_launcher,
    )
    from parsl_pool.providers.local import LocalProvider
    from parsl_pool.providers.states import JobState, JobStatus

_HOMES = {
    "BlockLimits": "parsl_pool.providers.base",
    "ExecutionProvider": "parsl_pool.providers.base",
    "JobState": "parsl_pool.providers.states",
    "JobStatus": "parsl_pool.providers.states",
    "Launcher": "parsl_pool.providers.launchers",
    "LocalProvider": "parsl_pool.providers.local",
    "SimpleLauncher": "parsl_pool.providers.launchers",
    "SingleNodeLauncher": "parsl_pool.providers.launchers",
    "WrappedLauncher": "parsl_pool.providers.launchers",
    "check_launcher": "parsl_pool.providers.launchers",
}

__all__ = [
    "BlockLimits",
    "ExecutionProvider",
    "JobState",
    "JobStatus",
    "Launcher",
    "LocalProvider",
    "SimpleLauncher",
    "SingleNodeLauncher",
    "WrappedLauncher",
    "check_launcher",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(_HOMES[name]), name)
    return value


def __dir__() -> list[str]:
    return __all__
