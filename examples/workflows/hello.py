"""A Python function and a shell command, as tasks."""

import parsl_pool
from parsl_pool import Config, HighThroughputExecutor, bash_app, python_app


@python_app
def greet(name):
    return f"Hello, {name}!"


@bash_app
def shout(text, stdout=parsl_pool.AUTO_LOGNAME):
    return f"echo '{text}' | tr a-z A-Z"


def main():
    with parsl_pool.load(Config([HighThroughputExecutor(max_workers_per_node=2)])):
        greeting = greet("world")
        shouted = shout(greeting)
        print(greeting.result())
        shouted.result()
        print(open(shouted.stdout).read(), end="")


if __name__ == "__main__":
    main()
