"""One task after another: a future is the next one's argument."""

import parsl_pool
from parsl_pool import Config, HighThroughputExecutor, python_app


@python_app
def increment(number):
    return number + 1


def main():
    with parsl_pool.load(Config([HighThroughputExecutor(max_workers_per_node=2)])):
        future = increment(0)
        for _ in range(99):
            future = increment(future)
        print(future.result())


if __name__ == "__main__":
    main()
