"""Two ways from one task to another. The last argument of `report` is there for the order alone."""

import parsl_pool
from parsl_pool import Config, HighThroughputExecutor, python_app


@python_app
def measure():
    return [3, 1, 2]


@python_app
def smallest(values):
    return min(values)


@python_app
def largest(values):
    return max(values)


@python_app
def report(low, high, *waits_for):
    return f"from {low} to {high}"


def main():
    with parsl_pool.load(Config([HighThroughputExecutor(max_workers_per_node=2)])):
        values = measure()
        checked = smallest(values)
        print(report(smallest(values), largest(values), checked).result())


if __name__ == "__main__":
    main()
