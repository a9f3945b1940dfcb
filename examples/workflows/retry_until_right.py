"""A program that has to be run again until its exit code is right; a hopeless one is given up at once."""

import tempfile

import parsl_pool
from parsl_pool import Config, HighThroughputExecutor, bash_app
from parsl_pool.errors import BashExitFailure


def cost(error, record):
    """Exit code 3 means "try again"."""
    return 0.25 if isinstance(error, BashExitFailure) and error.exitcode == 3 else 100


@bash_app
def converge(path):
    return f"echo x >> {path}; [ $(wc -l < {path}) -ge 4 ] || exit 3"


@bash_app
def hopeless():
    return "exit 1"


def main():
    config = Config([HighThroughputExecutor(max_workers_per_node=2)], retries=1, retry_handler=cost)
    with tempfile.NamedTemporaryFile() as file, parsl_pool.load(config):
        good, bad = converge(file.name), hopeless()
        outcome, problem = good.result(), bad.exception()  # both are done now, and all their attempts are known
        print(outcome, len(good.attempts), len(bad.attempts), problem)


if __name__ == "__main__":
    main()
