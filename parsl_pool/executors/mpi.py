"""`MPIExecutor`: tasks that start MPI programs, each on nodes of its own."""

from __future__ import annotations

from typing import Any

from parsl_pool import checks
from parsl_pool.errors import ConfigurationError, shown
from parsl_pool.executors.high_throughput.executor import HighThroughputExecutor

_NOT_HERE = (
    "max_workers_per_node", "max_workers", "cores_per_worker", "mem_per_worker", "available_accelerators",
    "cpu_affinity", "prefetch_capacity", "enable_mpi_mode",
)  # fmt: skip
_COUNT = checks.whole(above=0, most=checks.MOST_WORKERS)


class MPIExecutor(HighThroughputExecutor):
    """A HighThroughputExecutor for MPI programs. One manager for each block has the block's nodes to give; each task
    says how many it needs, and starts its program by the command in `PARSL_MPI_PREFIX`.

    Args:
        label: name of the executor.
        max_workers_per_block: how many programs may run in a block at once.
        mpi_launcher: what starts them: "mpiexec", "srun" or "aprun".
        options: as of a HighThroughputExecutor, but those about workers and what each of them has.
    """

    def __init__(
        self,
        label: str = "MPIExecutor",
        *,
        max_workers_per_block: int = 1,
        mpi_launcher: str = "mpiexec",
        **options: Any,
    ) -> None:
        count = _COUNT("max_workers_per_block", max_workers_per_block)
        for name in options:
            if name in _NOT_HERE:
                raise ConfigurationError(
                    f"{name}={shown(options[name])} is no option of an MPIExecutor: say max_workers_per_block, the "
                    "number of programs that run in a block at once"
                )
        super().__init__(
            label, max_workers_per_node=count, enable_mpi_mode=True, mpi_launcher=mpi_launcher, **options
        )
