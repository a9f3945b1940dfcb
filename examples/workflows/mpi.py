"""A sweep of an MPI program over sizes and numbers of ranks. Two programs run at once, each with nodes of its own.

It needs an `mpiexec`. On a cluster, the MPIExecutor gets the provider of the batch system, and the tasks more nodes.
"""

import parsl_pool
from parsl_pool import Config, MPIExecutor, bash_app


@bash_app
def simulate(size, parsl_resource_specification=None, stdout=parsl_pool.AUTO_LOGNAME):
    return f"$PARSL_MPI_PREFIX echo size {size}"  # echo in the place of the program


def main():
    with parsl_pool.load(Config([MPIExecutor("mpi", max_workers_per_block=2)])):
        runs = {
            (size, ranks): simulate(size, parsl_resource_specification={"num_nodes": 1, "ranks_per_node": ranks})
            for size in (8, 16)
            for ranks in (1, 2)
        }
        for (size, ranks), run in runs.items():
            run.result()
            print(size, ranks, open(run.stdout).read().split().count("size"))


if __name__ == "__main__":
    main()
