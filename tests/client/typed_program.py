"""A program as a user with `mypy --strict` writes it: test_typing.py has mypy check it, and runs it."""

import asyncio
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, Executor, Future, ProcessPoolExecutor, as_completed, wait

from typing_extensions import assert_type

from parsl_pool import AppFuture, ParslPoolExecutor


def half(number: int) -> float:
    return number / 2


def wants_text(text: str) -> None: ...


def futures_are_those_of_the_standard_library(pool: ParslPoolExecutor) -> None:
    started: list[AppFuture[float]] = [pool.submit(half, n) for n in range(4)]
    found = [future.result() for future in as_completed(started, timeout=60)]
    assert_type(found, list[float])
    done, _ = wait(started, return_when=FIRST_COMPLETED)
    assert_type(done, set[Future[float]])
    plain: Future[float] = started[0]
    mixed: list[Future[float]] = [plain, *started]
    assert sorted(future.result() for future in as_completed(mixed)) == [0, 0.5, 1, 1.5]  # each future once
    started[0].add_done_callback(lambda future: assert_type(future.result(), float) and None)
    wants_text(started[0].result())  # type: ignore[arg-type]    # a float is no text


def calls_keep_the_type_of_their_result(pool: ParslPoolExecutor) -> None:
    future = pool.submit(half, 3)
    assert_type(future, AppFuture[float])
    assert_type(future.result(timeout=60), float)
    assert_type(pool.submit(half, future), AppFuture[float])  # a future may stand for any argument
    assert_type(pool.map(half, range(3), chunksize=2), Iterator[float])
    assert_type(pool.starmap(half, [(1,), (2,)]), Iterator[float])
    assert_type(pool.options(retries=2).submit(half, 3), AppFuture[float])
    assert_type(pool.status().workers, int)


def the_pool_is_an_executor(pool: ParslPoolExecutor) -> None:
    anywhere: Executor = pool
    once: ProcessPoolExecutor = pool
    assert anywhere is once

    async def ask() -> float:
        return await asyncio.get_running_loop().run_in_executor(pool, half, 5)

    assert asyncio.run(ask()) == 2.5


def main() -> None:
    with ParslPoolExecutor(2) as pool:
        assert_type(pool, ParslPoolExecutor)
        futures_are_those_of_the_standard_library(pool)
        calls_keep_the_type_of_their_result(pool)
        the_pool_is_an_executor(pool)
    print("all is as typed")


if __name__ == "__main__":
    main()
