"""A program in modules: where it runs (config.py), what is computed (library.py), and in which order (this one)."""

import config
import library

import parsl_pool


def main():
    with parsl_pool.load(config.laptop()):
        sums = [library.increment(number) for number in range(5)]
        for number, sum_ in enumerate(sums):
            print(f"{number} + 1 = {sum_.result()}")


if __name__ == "__main__":
    main()
