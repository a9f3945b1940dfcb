"""Files that are brought to where a task runs, and away from there: the interface, and who does it.

A table of contents; each name is loaded when it is first used, for workers load what transfers files through it.
"""

from __future__ import annotations

TYPE_CHECKING = False  # checkers know the name; taking it from `typing` would load that
if TYPE_CHECKING:
    from typing import Any

    from parsl_pool.staging.base import Staging as Staging
    from parsl_pool.staging.data_manager import DataManager as DataManager
    from parsl_pool.staging.defaults import default_staging as default_staging
    from parsl_pool.staging.globus.provider import GlobusStaging as GlobusStaging
    from parsl_pool.staging.noop import NoOpFileStaging as NoOpFileStaging
    from parsl_pool.staging.protocols import FTPInTaskStaging as FTPInTaskStaging
    from parsl_pool.staging.protocols import FTPSeparateTaskStaging as FTPSeparateTaskStaging
    from parsl_pool.staging.protocols import HTTPInTaskStaging as HTTPInTaskStaging
    from parsl_pool.staging.protocols import HTTPSeparateTaskStaging as HTTPSeparateTaskStaging
    from parsl_pool.staging.protocols import RSyncStaging as RSyncStaging
    from parsl_pool.staging.protocols import S3InTaskStaging as S3InTaskStaging
    from parsl_pool.staging.protocols import S3SeparateTaskStaging as S3SeparateTaskStaging
    from parsl_pool.staging.protocols import SFTPInTaskStaging as SFTPInTaskStaging
    from parsl_pool.staging.protocols import SFTPSeparateTaskStaging as SFTPSeparateTaskStaging
    from parsl_pool.staging.styles import InTask as InTask
    from parsl_pool.staging.styles import Protocol as Protocol
    from parsl_pool.staging.styles import SeparateTask as SeparateTask
    from parsl_pool.staging.transfers.options import Transfer as Transfer
    from parsl_pool.staging.zip_files import ZipFileStaging as ZipFileStaging

_HOMES = {
    "DataManager": "data_manager",
    "default_staging": "defaults",
    "FTPInTaskStaging": "protocols",
    "FTPSeparateTaskStaging": "protocols",
    "GlobusStaging": "globus.provider",
    "HTTPInTaskStaging": "protocols",
    "HTTPSeparateTaskStaging": "protocols",
    "InTask": "styles",
    "NoOpFileStaging": "noop",
    "Protocol": "styles",
    "RSyncStaging": "protocols",
    "S3InTaskStaging": "protocols",
    "S3SeparateTaskStaging": "protocols",
    "SeparateTask": "styles",
    "SFTPInTaskStaging": "protocols",
    "SFTPSeparateTaskStaging": "protocols",
    "Staging": "base",
    "Transfer": "transfers.options",
    "ZipFileStaging": "zip_files",
}

__all__ = [
    "DataManager",
    "default_staging",
    "FTPInTaskStaging",
    "FTPSeparateTaskStaging",
    "GlobusStaging",
    "HTTPInTaskStaging",
    "HTTPSeparateTaskStaging",
    "InTask",
    "NoOpFileStaging",
    "Protocol",
    "RSyncStaging",
    "S3InTaskStaging",
    "S3SeparateTaskStaging",
    "SeparateTask",
    "SFTPInTaskStaging",
    "SFTPSeparateTaskStaging",
    "Staging",
    "Transfer",
    "ZipFileStaging",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module  # now that something is loaded

    value = globals()[name] = getattr(import_module(f"parsl_pool.staging.{_HOMES[name]}"), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})
