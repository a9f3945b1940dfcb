"""Fan-out on processes, fan-in on threads of this one: each app says where it runs."""

import os

import parsl_pool
from parsl_pool import Config, HighThroughputExecutor, ThreadPoolExecutor, python_app

SEEN = {}


@python_app(executors=["processes"])
def simulate(seed):
    import os

    return os.getpid(), seed * seed


@python_app(executors=["here"])
def collect(results):
    SEEN["total"] = sum(value for _, value in results)  # a thread has our own objects
    return {process for process, _ in results}


def main():
    config = Config([HighThroughputExecutor("processes", max_workers_per_node=2), ThreadPoolExecutor("here")])
    with parsl_pool.load(config):
        processes = collect([simulate(seed) for seed in range(20)]).result()
    print(os.getpid() in processes, SEEN["total"])


if __name__ == "__main__":
    main()
