"""Many independent tasks, whose results are taken as they come."""

from concurrent.futures import as_completed

from parsl_pool import ParslPoolExecutor


def collatz(number):
    """How many steps the number needs to 1."""
    steps, n = 0, number
    while n != 1:
        n = 3 * n + 1 if n % 2 else n // 2
        steps += 1
    return number, steps


def main():
    longest = (1, 0)
    with ParslPoolExecutor(2) as pool:
        for future in as_completed([pool.submit(collatz, number) for number in range(1, 1000)]):
            longest = max(longest, future.result(), key=lambda found: found[1])
    print(f"the longest way below 1000 has {longest[0]}: {longest[1]} steps")


if __name__ == "__main__":
    main()
