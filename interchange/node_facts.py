"""What there is on a node, for workers and for tasks that ask for something. Nobody else looks.

    PARSL_CORES, PARSL_MEMORY_GB           what the provider has asked for: holds, whatever else is to be seen
    affinity, control groups, Slurm's job  what this process may use: the least of these
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping

from parsl_pool import portable
from parsl_pool.interchange import control_group
from parsl_pool.interchange.named_tuple import NamedTuple
from parsl_pool.interchange.packing import Has
from parsl_pool.interchange.set_aside import SetAside
from parsl_pool.interchange.wanted import UnfitNode
from parsl_pool.interchange.wire import Settings

GB = 1 << 30  # as batch systems count
_MB = 1 << 20
CORES, MEMORY = "PARSL_CORES", "PARSL_MEMORY_GB"


class Seen(NamedTuple):
    """What there is on a node."""

    cores: list[int]  # by number: those that this process may use
    usable: int  # of cores that it is to use: perhaps fewer than these, or more
    memory: int  # bytes; 0 if that is not known


def look(environ: Mapping[str, str], root: str = "/") -> Seen:
    """See what there is. root: of the file system, but for tests. Raises UnfitNode for variables that make no sense."""
    told_cores, told_gb = _told(environ, CORES), _told(environ, MEMORY)
    seen = _found(environ, root)
    usable = max(1, int(told_cores)) if told_cores else seen.usable
    return Seen(seen.cores, usable, int(told_gb * GB) if told_gb else seen.memory)


def _found(environ: Mapping[str, str], root: str) -> Seen:
    """The same, whatever the provider has said."""
    if portable.has(os, "sched_getaffinity"):
        cores = sorted(os.sched_getaffinity(0))
    else:
        cores = list(range(os.cpu_count() or 1))
    quota = control_group.processors(root)
    of_job = _number(environ, "SLURM_CPUS_ON_NODE")
    allowed = [len(cores), of_job, math.ceil(quota) if quota else 0]
    memory = [_physical_memory(), control_group.memory(root) or 0, _memory_of_job(environ, of_job)]
    return Seen(cores, max(1, min(filter(None, allowed))), min(filter(None, memory), default=0))


def _told(environ: Mapping[str, str], name: str) -> float:
    """The number in a variable, 0 if it is not set."""
    text = environ.get(name, "").strip()
    try:
        number = float(text or 0)
    except ValueError:
        number = -1.0
    if not 0 <= number < 1e9 or (text and number == 0):
        raise UnfitNode(f"{name}={text!r} in its environment is not a number greater than 0")
    return number


def _number(environ: Mapping[str, str], name: str) -> int:
    """What a batch system says there; 0 if it is none of our business to understand that."""
    text = environ.get(name, "")
    return int(text) if text.isascii() and text.isdigit() and len(text) < 12 else 0


def _memory_of_job(environ: Mapping[str, str], cores: int) -> int:
    """Bytes, 0 if nothing is said. Not every site keeps jobs to that by control groups; others then pay for it.

    Slurm (sbatch, OUTPUT ENVIRONMENT VARIABLES) counts in megabytes; 0 there means all that the node has.
    """
    of_node = _number(environ, "SLURM_MEM_PER_NODE")
    return _MB * (of_node or cores * _number(environ, "SLURM_MEM_PER_CPU"))


def _physical_memory() -> int:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (ValueError, OSError):
        return 0  # this system does not tell


# ---- for tasks that ask for something


def aside_of(settings: Settings, gpus: int = 0) -> SetAside:
    """What a manager here can set aside for tasks that ask for something. gpus: different ones, of all workers.

    Raises NoNodes.
    """
    if not settings.mpi_launcher:
        return SetAside(facts(settings.workers, gpus, lasts_ms=settings.lasts_ms))
    from parsl_pool.interchange import mpi  # only where it is asked for

    nodes = mpi.nodes_of_job(os.environ)
    open_mpi = settings.mpi_launcher == "mpiexec" and mpi.is_open_mpi()
    has = facts(settings.workers, nodes=len(nodes), lasts_ms=settings.lasts_ms)
    return SetAside(has, nodes, mpi.Surroundings(settings.mpi_launcher, open_mpi))


def facts(workers: int, gpus: int = 0, nodes: int = 0, lasts_ms: int = 0) -> Has:
    """Those of this host, for so many workers."""
    try:
        seen = look(os.environ)
    except UnfitNode:  # where workers depend on that it has been told; here they are a mere number
        seen = _found(os.environ, "/")
    return Has(workers, seen.usable, seen.memory // _MB, _disk_mb(), gpus, nodes, lasts_ms)


def _disk_mb() -> int:
    """What is free where temporary files go."""
    try:
        state = os.statvfs(os.environ.get("TMPDIR") or "/tmp")
    except OSError:
        return 0
    return state.f_bavail * state.f_frsize // _MB
