"""How machines are obtained: providers (what a block is), launchers (how it starts), states (how it fares).

A table of contents; each name is loaded when it is first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from parsl_pool.providers.adhoc import AdHocProvider
    from parsl_pool.providers.base import BlockLimits, ExecutionProvider, Preview
    from parsl_pool.providers.channels.base import Channel
    from parsl_pool.providers.channels.local import LocalChannel
    from parsl_pool.providers.channels.oauth_ssh import OAuthSSHChannel
    from parsl_pool.providers.channels.ssh import SSHChannel
    from parsl_pool.providers.channels.ssh_interactive import SSHInteractiveLoginChannel
    from parsl_pool.providers.cobalt import CobaltProvider
    from parsl_pool.providers.condor import CondorProvider
    from parsl_pool.providers.grid_engine import GridEngineProvider
    from parsl_pool.providers.launchers import (
        Launcher,
        SimpleLauncher,
        SingleNodeLauncher,
        WrappedLauncher,
        check_launcher,
    )
    from parsl_pool.providers.local import LocalProvider
    from parsl_pool.providers.lsf import LSFProvider
    from parsl_pool.providers.node_launchers import (
        AprunLauncher,
        GnuParallelLauncher,
        JsrunLauncher,
        MpiExecLauncher,
        MpiRunLauncher,
        SrunLauncher,
        SrunMPILauncher,
    )
    from parsl_pool.providers.pbspro import PBSProProvider
    from parsl_pool.providers.simulated import SimulatedProvider
    from parsl_pool.providers.slurm import SlurmProvider
    from parsl_pool.providers.states import JobState, JobStatus
    from parsl_pool.providers.torque import TorqueProvider

_HOMES = {
    "AdHocProvider": "parsl_pool.providers.adhoc",
    "AprunLauncher": "parsl_pool.providers.node_launchers",
    "BlockLimits": "parsl_pool.providers.base",
    "Channel": "parsl_pool.providers.channels.base",
    "CobaltProvider": "parsl_pool.providers.cobalt",
    "CondorProvider": "parsl_pool.providers.condor",
    "ExecutionProvider": "parsl_pool.providers.base",
    "GnuParallelLauncher": "parsl_pool.providers.node_launchers",
    "GridEngineProvider": "parsl_pool.providers.grid_engine",
    "JobState": "parsl_pool.providers.states",
    "JobStatus": "parsl_pool.providers.states",
    "JsrunLauncher": "parsl_pool.providers.node_launchers",
    "LSFProvider": "parsl_pool.providers.lsf",
    "Launcher": "parsl_pool.providers.launchers",
    "LocalChannel": "parsl_pool.providers.channels.local",
    "LocalProvider": "parsl_pool.providers.local",
    "MpiExecLauncher": "parsl_pool.providers.node_launchers",
    "MpiRunLauncher": "parsl_pool.providers.node_launchers",
    "PBSProProvider": "parsl_pool.providers.pbspro",
    "Preview": "parsl_pool.providers.base",
    "OAuthSSHChannel": "parsl_pool.providers.channels.oauth_ssh",
    "SSHInteractiveLoginChannel": "parsl_pool.providers.channels.ssh_interactive",
    "SSHChannel": "parsl_pool.providers.channels.ssh",
    "SimpleLauncher": "parsl_pool.providers.launchers",
    "SimulatedProvider": "parsl_pool.providers.simulated",
    "SingleNodeLauncher": "parsl_pool.providers.launchers",
    "SlurmProvider": "parsl_pool.providers.slurm",
    "SrunLauncher": "parsl_pool.providers.node_launchers",
    "SrunMPILauncher": "parsl_pool.providers.node_launchers",
    "TorqueProvider": "parsl_pool.providers.torque",
    "WrappedLauncher": "parsl_pool.providers.launchers",
    "check_launcher": "parsl_pool.providers.launchers",
}

__all__ = [
    "AdHocProvider",
    "AprunLauncher",
    "BlockLimits",
    "Channel",
    "CobaltProvider",
    "CondorProvider",
    "ExecutionProvider",
    "GnuParallelLauncher",
    "GridEngineProvider",
    "JobState",
    "JobStatus",
    "JsrunLauncher",
    "LSFProvider",
    "Launcher",
    "LocalChannel",
    "LocalProvider",
    "MpiExecLauncher",
    "MpiRunLauncher",
    "PBSProProvider",
    "Preview",
    "OAuthSSHChannel",
    "SSHChannel",
    "SSHInteractiveLoginChannel",
    "SimpleLauncher",
    "SimulatedProvider",
    "SingleNodeLauncher",
    "SlurmProvider",
    "SrunLauncher",
    "SrunMPILauncher",
    "TorqueProvider",
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
