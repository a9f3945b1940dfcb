"""Waiting for another system's futures, without holding a worker. A thread pool stands for it here."""

from concurrent.futures import ThreadPoolExecutor
from time import sleep

import parsl_pool
from parsl_pool import Config, HighThroughputExecutor, join_app, python_app

elsewhere = ThreadPoolExecutor(2)


def slow_service(question):
    sleep(0.1)
    return len(question)


@join_app
def ask(question):
    return elsewhere.submit(slow_service, question)


@python_app
def add(a, b):
    return a + b


def main():
    with elsewhere, parsl_pool.load(Config([HighThroughputExecutor(max_workers_per_node=1)])):
        print(add(ask("how long"), ask("is a string")).result())


if __name__ == "__main__":
    main()
