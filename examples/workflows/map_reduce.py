"""Map, then reduce: a list of futures is one argument."""

from collections import Counter

import parsl_pool
from parsl_pool import Config, HighThroughputExecutor, python_app

TEXT = "the quick brown fox jumps over the lazy dog and the dog sleeps".split()


@python_app
def count(words):
    return Counter(words)


@python_app
def merge(inputs=()):
    return sum(inputs, Counter())


def main():
    with parsl_pool.load(Config([HighThroughputExecutor(max_workers_per_node=2)])):
        counted = [count(TEXT[start : start + 4]) for start in range(0, len(TEXT), 4)]
        print(merge(inputs=counted).result().most_common(2))


if __name__ == "__main__":
    main()
