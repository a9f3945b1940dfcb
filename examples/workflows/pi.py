"""Monte Carlo: darts on a square, in three tasks."""

import parsl_pool
from parsl_pool import Config, HighThroughputExecutor, python_app


@python_app
def estimate(darts, seed):
    from random import Random

    random = Random(seed)
    return 4 * sum(random.random() ** 2 + random.random() ** 2 < 1 for _ in range(darts)) / darts


@python_app
def mean(*numbers):
    return sum(numbers) / len(numbers)


def main():
    with parsl_pool.load(Config([HighThroughputExecutor(max_workers_per_node=2)])):
        print(f"{mean(*[estimate(20_000, seed) for seed in range(3)]).result():.2f}")


if __name__ == "__main__":
    main()
