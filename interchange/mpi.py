"""MPI programs: the nodes of a block, as its batch system tells them, and the commands that start a program on some.

A manager in MPI mode runs on one node of its block and has all of them to give. Which these are stands in the
environment of its job.
"""

from __future__ import annotations

import os
import shlex
import socket
import subprocess
from collections.abc import Callable, Mapping, Sequence

from parsl_pool.interchange.host_list import expanded
from parsl_pool.interchange.request import Request
from parsl_pool.interchange.set_aside import Share
from parsl_pool.interchange.wanted import UnfitNode

LAUNCHERS = ("mpiexec", "srun", "aprun")
_VERSION_S = 10.0


class NoNodes(UnfitNode):
    """The nodes of the block can't be told. The text says why."""


def nodes_of_job(environ: Mapping[str, str]) -> list[str]:
    """The nodes of the job that this runs in, each once; outside of any, this host. Raises NoNodes."""
    for name, read in _SOURCES.items():
        value = environ.get(name, "").strip()
        if value:
            try:
                nodes = list(dict.fromkeys(read(value)))
            except (OSError, ValueError, IndexError) as problem:
                raise NoNodes(f"{name}={value!r} does not tell the nodes of this job: {problem}") from None
            if not nodes:
                raise NoNodes(f"{name}={value!r} names no node")
            return nodes
    return [socket.gethostname()]


def _lines(path: str) -> list[str]:
    with open(path, encoding="utf-8", errors="surrogateescape") as file:
        return [line.strip() for line in file if line.strip()]


def _first_words(path: str) -> list[str]:
    """Grid Engine's: `host slots queue processors`."""
    return [line.split()[0] for line in _lines(path)]


def _cobalt(value: str) -> list[str]:
    return _lines(value) if os.path.exists(value) else value.split(",")


def _lsf(value: str) -> list[str]:
    """A host for each slot, the one that only starts the job first, where there is one apart."""
    return value.split()


_SOURCES: dict[str, Callable[[str], list[str]]] = {
    "SLURM_JOB_NODELIST": expanded,
    "SLURM_NODELIST": expanded,
    "PBS_NODEFILE": _lines,
    "COBALT_NODEFILE": _cobalt,
    "LSB_DJOB_HOSTFILE": _lines,
    "LSB_HOSTS": _lsf,
    "PE_HOSTFILE": _first_words,
    "PARSL_MPI_HOSTFILE": _first_words,  # for those who have neither, and start the manager by hand
}
"""Where batch systems tell a job which nodes it has."""


def is_open_mpi(environ: Mapping[str, str] | None = None) -> bool:
    """True if the `mpiexec` that is first on PATH is Open MPI's, which names hosts in another way than all others."""
    try:
        said = subprocess.run(
            ["mpiexec", "--version"], capture_output=True, text=True, timeout=_VERSION_S, stdin=subprocess.DEVNULL,
            env=None if environ is None else dict(environ), errors="replace",
        )  # fmt: skip
    except (OSError, subprocess.SubprocessError):
        return False  # there is none, which the task will tell in its own words
    return any(name in said.stdout + said.stderr for name in ("Open MPI", "OpenRTE", "PRRTE"))


def prefixes(request: Request, nodes: Sequence[str], open_mpi: bool) -> dict[str, str]:
    """The command that starts a program on these nodes, by launcher; without the program."""
    names = ",".join(nodes)
    ranks, per_node = str(request.num_ranks), str(request.ranks_per_node)
    if open_mpi:
        # It counts the slots that the scheduler has given to tasks: with our one manager a node that is one.
        slots = ",".join(f"{node}:{per_node}" for node in nodes)
        mpiexec = ["mpiexec", "-n", ranks, "--host", slots, "--map-by", ":OVERSUBSCRIBE"]
    else:
        mpiexec = ["mpiexec", "-n", ranks, "-ppn", per_node, "-hosts", names]
    tasks = [f"--ntasks={ranks}", f"--ntasks-per-node={per_node}"]
    srun = ["srun", f"--nodes={len(nodes)}", *tasks, f"--nodelist={names}"]
    aprun = ["aprun", "-L", names, "-n", ranks, "-N", per_node]
    more = " " + request.launcher_options.strip() if request.launcher_options.strip() else ""
    return {command[0]: " ".join(map(shlex.quote, command)) + more for command in (mpiexec, srun, aprun)}


class Surroundings:
    """What a task's environment says of the nodes that it has."""

    def __init__(self, launcher: str, open_mpi: bool) -> None:
        self._launcher, self._open_mpi = launcher, open_mpi

    def __call__(self, request: Request, share: Share) -> list[str]:
        commands = prefixes(request, share.nodes, self._open_mpi)
        nodes = ",".join(share.nodes)
        variables = {f"PARSL_{name.upper()}_PREFIX": command for name, command in commands.items()}
        variables |= {
            "PARSL_MPI_PREFIX": commands[self._launcher],
            "PARSL_MPI_NODELIST": nodes,
            "PARSL_NODELIST": nodes,
            "PARSL_NUM_NODES": str(request.num_nodes),
            "PARSL_RANKS_PER_NODE": str(request.ranks_per_node),
            "PARSL_NUM_RANKS": str(request.num_ranks),
        }
        if request.launcher_options:
            variables["PARSL_LAUNCHER_OPTIONS"] = request.launcher_options
        if request.running_ms:
            variables["PARSL_RUNNING_TIME_MIN"] = f"{request.running_ms / 60_000:g}"
        return [f"{name}={value}" for name, value in variables.items()]
