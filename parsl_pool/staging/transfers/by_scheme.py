"""Fetch and send whatever a URL names, by the module for its scheme."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any

from parsl_pool.errors import ConfigurationError
from parsl_pool.staging.transfers.options import USUAL, Transfer
from parsl_pool.staging.transfers.urls import shown

MODULES = {
    "http": "web", "https": "web", "ftp": "ftp", "ftps": "ftp", "sftp": "sftp", "rsync": "rsync", "s3": "s3",
}  # fmt: skip


def fetch(url: str, target: Path, options: Transfer = USUAL) -> None:
    """Bring the file of a URL to a path. Raises TransferFailed, ConfigurationError."""
    _module(url).fetch(url, target, options)


def send(source: Path, url: str, options: Transfer = USUAL) -> None:
    """Send a file to a URL. Raises TransferFailed, ConfigurationError."""
    _module(url).send(source, url, options)


def _module(url: str) -> Any:
    scheme = url.partition(":")[0].lower()
    if scheme not in MODULES:
        raise ConfigurationError(f"{shown(url)} must begin with one of {', '.join(f'{name}:' for name in MODULES)}")
    return import_module(f"parsl_pool.staging.transfers.{MODULES[scheme]}")
