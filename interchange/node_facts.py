"""What a node has for tasks that ask for something, beside its workers."""

from __future__ import annotations

import os

from parsl_pool import portable
from parsl_pool.interchange.packing import Has
from parsl_pool.interchange.set_aside import SetAside
from parsl_pool.interchange.wire import Settings


def aside_of(settings: Settings, gpus: int = 0) -> SetAside:
    """What a manager here can set aside for tasks that ask for something. gpus: of all workers, who have one each.

    Raises NoNodes.
    """
    if not settings.mpi_launcher:
        return SetAside(facts(settings.workers, min(1, gpus), lasts_ms=settings.lasts_ms))
    from parsl_pool.interchange import mpi  # only where it is asked for

    nodes = mpi.nodes_of_job(os.environ)
    open_mpi = settings.mpi_launcher == "mpiexec" and mpi.is_open_mpi()
    has = facts(settings.workers, nodes=len(nodes), lasts_ms=settings.lasts_ms)
    return SetAside(has, nodes, mpi.Surroundings(settings.mpi_launcher, open_mpi))


def facts(workers: int, gpus: int = 0, nodes: int = 0, lasts_ms: int = 0) -> Has:
    """Those of this host, for so many workers. What the provider has asked for on each node holds, if it says so."""
    told_cores, told_gb = _told("PARSL_CORES"), _told("PARSL_MEMORY_GB")
    cores = len(os.sched_getaffinity(0)) if portable.has(os, "sched_getaffinity") else os.cpu_count() or 1
    memory_mb = int(told_gb * 1024) if told_gb else _memory_mb()
    return Has(workers, int(told_cores) or cores, memory_mb, _disk_mb(), gpus, nodes, lasts_ms)


def _told(name: str) -> float:
    try:
        return max(0.0, float(os.environ.get(name, "") or 0))
    except ValueError:
        return 0.0


def _memory_mb() -> int:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") >> 20
    except (ValueError, OSError):
        return 0  # this system does not tell


def _disk_mb() -> int:
    """What is free where temporary files go."""
    try:
        state = os.statvfs(os.environ.get("TMPDIR") or "/tmp")
    except OSError:
        return 0
    return state.f_bavail * state.f_frsize >> 20
