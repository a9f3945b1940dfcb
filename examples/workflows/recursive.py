"""A workflow that decides as it goes: what a task returns says which tasks come next."""

import parsl_pool
from parsl_pool import Config, HighThroughputExecutor, join_app, python_app


@python_app
def add(a, b):
    return a + b


@join_app
def fibonacci(n):
    return add(0, 1) if n <= 2 else add(fibonacci(n - 1), fibonacci(n - 2))


@python_app
def how_many(seed):
    return seed % 5 + 1


@python_app
def square(number):
    return number * number


@join_app
def squares(count):
    """Only known to be so many when `count` has come."""
    return [square(number) for number in range(count)]


def main():
    with parsl_pool.load(Config([HighThroughputExecutor(max_workers_per_node=2)])):
        print(fibonacci(12).result())
        print(squares(how_many(13)).result())


if __name__ == "__main__":
    main()
