"""What the figures were measured on: without it they mean nothing."""

from __future__ import annotations

import os
import platform
import subprocess
from importlib import metadata
from pathlib import Path

PACKAGES = ("pyzmq", "cloudpickle", "numpy", "loky")


def describe() -> dict[str, str]:
    """The machine, the interpreter and the packages that matter, as text to print."""
    facts = {
        "cpu": _field("/proc/cpuinfo", "model name") or platform.processor() or platform.machine(),
        "cores": str(len(os.sched_getaffinity(0))),
        "memory": _memory(),
        "kernel": f"{platform.system()} {platform.release()}",
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "load average at the start": " ".join(f"{load:.1f}" for load in os.getloadavg()),
    }
    if revision := _revision():
        facts["revision"] = revision
    return facts | {name: version for name in PACKAGES if (version := package_version(name))}


def package_version(name: str) -> str:
    """The installed version of a distribution, or nothing."""
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return ""


def _field(path: str, name: str) -> str:
    for line in Path(path).read_text().splitlines() if Path(path).exists() else ():
        if line.startswith(name):
            return line.partition(":")[2].strip()
    return ""


def _memory() -> str:
    kilobytes = _field("/proc/meminfo", "MemTotal").split()
    return f"{int(kilobytes[0]) / 2**20:.1f} GiB" if kilobytes else "unknown"


def _revision() -> str:
    try:
        answer = subprocess.run(
            ["git", "describe", "--always", "--dirty"],
            cwd=Path(__file__).parent,
            capture_output=True,
            text=True,
        )
    except OSError:
        return ""    # no git here: an unpacked archive
    return answer.stdout.strip()
