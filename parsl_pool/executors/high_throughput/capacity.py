"""What the nodes of an executor can hold, as far as that is known before a task is sent."""

from __future__ import annotations

import os
from typing import Any

from parsl_pool import checks
from parsl_pool.dataflow.record import Options
from parsl_pool.errors import ConfigurationError, shown
from parsl_pool.executors.high_throughput import arrangement
from parsl_pool.interchange.request import Asked
from parsl_pool.resources import MPI_KEYS, PLACE_KEYS, wrong

MPI_LAUNCHER = checks.one_of("mpiexec", "srun", "aprun")
_TWO = "an MPI program needs two of num_nodes, ranks_per_node and num_ranks"


def mpi_launcher(enabled: object, launcher: object, provider: Any) -> str:
    """What starts MPI programs; "" if there are none. Raises ConfigurationError."""
    name = MPI_LAUNCHER("mpi_launcher", launcher)
    if not checks.flag("enable_mpi_mode", enabled):
        return ""
    block_launcher = getattr(provider, "launcher", None)
    if block_launcher is not None and not arrangement.starts_here(block_launcher):
        raise ConfigurationError(
            f"launcher must be SimpleLauncher() for MPI programs, got {shown(block_launcher)}: one manager has all "
            "nodes of a block to give"
        )
    return name


def expect_nodes(executor: Any, options: Options | None) -> None:
    """Raise InvalidResourceSpecification for a call that does not say which nodes its MPI program needs."""
    asked = options.resources if options is not None else None
    if asked is None or asked.request is None or not asked.request.num_nodes:
        given = asked.given if asked is not None else {}
        raise wrong(executor, f"{_TWO}: pool.options(resources={{'num_nodes': 2, 'ranks_per_node': 4}})", given)


def check(executor: Any, asked: Asked) -> None:
    """Raise InvalidResourceSpecification for what the executor can never give."""
    given, request = asked.given, asked.request
    if executor.mpi_launcher:
        if request is None or not request.num_nodes:
            raise wrong(executor, _TWO, given)
        for key in PLACE_KEYS:
            if key in given:
                raise wrong(executor, f"{key} is not for MPI programs, which have their nodes for themselves", given)
    else:
        for key in MPI_KEYS:
            if key in given:
                raise wrong(executor, f"{key} is for MPI programs: use an MPIExecutor, or enable_mpi_mode=True", given)
    provider = executor._provider
    if request is not None and (executor.manager_inside or provider is None or arrangement.is_on_this_host(provider)):
        _check_here(executor, asked)


def _check_here(executor: Any, asked: Asked) -> None:
    """All managers will be on this host, so what it has not got none will have."""
    # Only for tasks that ask for something.
    from parsl_pool.interchange.mpi import nodes_of_job
    from parsl_pool.interchange.node_facts import facts
    from parsl_pool.interchange.packing import in_words, needs
    from parsl_pool.interchange.wanted import FIND

    nodes = len(nodes_of_job(os.environ)) if executor.mpi_launcher else 0
    workers, wanted = executor.max_workers_per_node, executor._node
    # Of those that are yet to be found there are no more than workers.
    gpus = workers if wanted.accelerator_count == FIND else len(set(wanted.accelerators)) or wanted.accelerator_count
    has = facts(workers, gpus, nodes, lasts_ms(executor._provider))
    if asked.request is not None and needs(asked.request, has) is None:
        reason = f"no manager of this executor can ever hold it: each has {in_words(has)}"
        raise wrong(executor, reason, asked.given)


def lasts_ms(provider: Any) -> int:
    """How long a node is there, by the provider's walltime; 0 if nobody knows."""
    walltime = getattr(provider, "walltime", None)
    return int(1000 * walltime.seconds) if walltime is not None else 0


def managers_most(provider: Any, inside: bool) -> int:
    """How many managers there can be at once; 0 if nobody knows."""
    if inside:
        return 1
    limits = getattr(provider, "limits", None)
    if limits is None:
        return 0
    has_one = arrangement.starts_here(getattr(provider, "launcher", None))
    return int(limits.max_blocks) * (1 if has_one else int(limits.nodes_per_block))
