"""What a worker says of itself, as the trial's first task."""

from __future__ import annotations

import os
import platform
import socket
import sys
import tempfile
import time
from importlib import metadata
from typing import Any

from parsl_pool._version import __version__

_PACKAGES = ("pyzmq", "cloudpickle", "psutil", "numpy")


def probe() -> dict[str, Any]:
    """Facts of the worker that runs this."""
    return {
        "host": socket.gethostname(),
        "python": platform.python_version(),
        "executable": sys.executable,
        "directory": os.getcwd(),
        "cores": len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count(),
        "temporary": os.access(tempfile.gettempdir(), os.W_OK),
        "time": time.time(),
        "parsl_pool": __version__,
        "packages": {name: _version(name) for name in _PACKAGES},
        "gpus": os.environ.get("CUDA_VISIBLE_DEVICES", ""),
    }


def _version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return ""


def echo(data: bytes) -> bytes:
    """The same bytes."""
    return data
