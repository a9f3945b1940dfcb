"""Tasks that need more than others say what: nodes are packed by it, and what no node has is refused at once."""

from parsl_pool import ParslPoolExecutor
from parsl_pool.errors import InvalidResourceSpecification


def fit(size):
    return size * size


def main():
    with ParslPoolExecutor(2) as pool:
        small = [pool.submit(fit, size) for size in range(4)]
        large = pool.options(resources={"cores": 1, "memory": 200, "priority": -1})  # MB; lower numbers go first
        print(large.submit(fit, 100).result(), [future.result() for future in small])
        try:
            pool.options(resources={"memory": 10**9})
        except InvalidResourceSpecification as error:
            print(type(error).__name__)


if __name__ == "__main__":
    main()
