"""The staging providers for files over the network, each by a task of its own or in the task that needs the file.

Each takes the options of its transfers, a `Transfer`.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from parsl_pool import checks
from parsl_pool.errors import ConfigurationError
from parsl_pool.files import File
from parsl_pool.staging.base import Manager
from parsl_pool.staging.styles import CACHE_BYTES, InTask, Protocol, SeparateTask
from parsl_pool.staging.transfers import by_scheme
from parsl_pool.staging.transfers.options import USUAL, Transfer

_OPTIONS = checks.optional(checks.instance_of(Transfer, "a Transfer"))


def _of(*schemes: str) -> Protocol:
    return Protocol(schemes, by_scheme.fetch, by_scheme.send)


class _ByTask(SeparateTask):
    def __init__(self, options: Transfer | None = None, *, cache_bytes: int = CACHE_BYTES) -> None:
        super().__init__(cache_bytes)
        self.options = _OPTIONS("options", options) or USUAL


class _ByTheTask(InTask):
    def __init__(self, options: Transfer | None = None, *, cache_bytes: int = CACHE_BYTES) -> None:
        super().__init__(cache_bytes)
        self.options = _OPTIONS("options", options) or USUAL


class HTTPSeparateTaskStaging(_ByTask):
    """Files of web servers, `http:` and `https:`, by a task of its own each. They go out by PUT."""

    protocol = _of("http", "https")


class HTTPInTaskStaging(_ByTheTask):
    """Files of web servers, `http:` and `https:`, in the task that needs them. They go out by PUT."""

    protocol = _of("http", "https")


class FTPSeparateTaskStaging(_ByTask):
    """Files of FTP servers, `ftp:` and `ftps:`, by a task of its own each."""

    protocol = _of("ftp", "ftps")


class FTPInTaskStaging(_ByTheTask):
    """Files of FTP servers, `ftp:` and `ftps:`, in the task that needs them."""

    protocol = _of("ftp", "ftps")


class SFTPSeparateTaskStaging(_ByTask):
    """Files of SSH servers, `sftp:`, by a task of its own each."""

    protocol = _of("sftp")


class SFTPInTaskStaging(_ByTheTask):
    """Files of SSH servers, `sftp:`, in the task that needs them."""

    protocol = _of("sftp")


class S3SeparateTaskStaging(_ByTask):
    """Objects of S3, `s3:`, by a task of its own each."""

    protocol = _of("s3")


class S3InTaskStaging(_ByTheTask):
    """Objects of S3, `s3:`, in the task that needs them."""

    protocol = _of("s3")


class RSyncStaging(_ByTheTask):
    """Paths and `file:` URLs of this machine, by rsync, in the task that needs them. rsync must be on both sides.

    Args:
        hostname: what a node calls this machine, as for ssh: "host" or "user@host". ssh must let the node in without
            asking anybody.
    """

    def __init__(
        self, hostname: str, options: Transfer | None = None, *, cache_bytes: int = CACHE_BYTES
    ) -> None:
        super().__init__(options, cache_bytes=cache_bytes)
        self.hostname = checks.name("hostname", hostname)
        if self.hostname.startswith("-") or any(mark in self.hostname for mark in "/: "):
            raise ConfigurationError(f"hostname must be 'host' or 'user@host', got {self.hostname!r}")
        self.protocol = Protocol(
            ("file",), partial(fetch_from, self.hostname), partial(send_to, self.hostname)
        )

    def replace_task(
        self, dm: Manager, executor: str, file: File, func: Callable[..., Any]
    ) -> Callable[..., Any] | None:
        """See the base class."""
        return super().replace_task(dm, executor, _of_this_machine(file), func)

    def replace_task_stage_out(
        self, dm: Manager, executor: str, file: File, func: Callable[..., Any]
    ) -> Callable[..., Any] | None:
        """See the base class."""
        return super().replace_task_stage_out(dm, executor, _of_this_machine(file), func)


def _of_this_machine(file: File) -> File:
    """The same by its absolute path: a relative one would begin at the login's home."""
    same = File(os.path.abspath(file.path))
    same.local_path = file.local_path
    return same


def fetch_from(hostname: str, url: str, target: Path, options: Transfer) -> None:
    """Bring a file of that machine here."""
    from parsl_pool.staging.transfers import rsync  # late: where the task runs

    rsync.fetch(f"{hostname}:{File(url).path}", target, options)


def send_to(hostname: str, source: Path, url: str, options: Transfer) -> None:
    """Send a file to that machine."""
    from parsl_pool.staging.transfers import rsync  # late: where the task runs

    rsync.send(source, f"{hostname}:{File(url).path}", options)
