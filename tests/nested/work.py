"""What the tasks of these tests do. Importable by workers."""

import asyncio
import os
import threading
import time
from collections.abc import Callable
from concurrent.futures import Executor, Future, as_completed, wait
from concurrent.futures import TimeoutError as FuturesTimeoutError  # another one than the built-in before 3.11
from typing import Any

KEPT: dict[str, Any] = {}


def one_more(number: int) -> int:
    return number + 1


def add(*numbers: int) -> int:
    return sum(numbers)


def fail(text: str) -> None:
    raise ValueError(text)


def size_of(data: bytes) -> int:
    return len(data)


def copy_of(data: bytes) -> bytes:
    return bytes(data)


def pid_after(path: str) -> int:
    """The process that runs this, when that file is there."""
    end = time.monotonic() + 60  # should the test have failed
    while not os.path.exists(path) and time.monotonic() < end:
        time.sleep(0.005)
    return os.getpid()


def note_and_wait(note: str, path: str) -> int:
    with open(note, "a") as file:
        file.write(f"{os.getpid()}\n")
    return pid_after(path)


def note(path: str) -> None:
    with open(path, "a") as file:
        file.write("here\n")


def fail_until(path: str) -> str:
    """Works at the second try."""
    if os.path.exists(path):
        return "at last"
    note(path)
    raise ValueError("the first try")


# ---- tasks that make calls


def facts(pool: Any) -> tuple[bool, int, str, bool]:
    return isinstance(pool, Executor), pool.size, repr(pool), pool is pool.__enter__()


def call(pool: Any, fn: Callable[..., Any], *args: Any) -> Any:
    with pool as inner:
        return inner.submit(fn, *args).result()


def call_with(pool: Any, options: dict[str, Any], fn: Callable[..., Any], *args: Any) -> Any:
    return pool.options(**options).submit(fn, *args).result()


def call_with_a_lock(pool: Any) -> Any:
    return pool.submit(one_more, threading.Lock()).result()


def deep(pool: Any, levels: int) -> int:
    return int(pool.submit(deep, pool, levels - 1).result()) + 1 if levels else 0


def fib(pool: Any, n: int) -> int:
    if n < 2:
        return n
    one, other = pool.submit(fib, pool, n - 1), pool.submit(fib, pool, n - 2)
    return int(one.result() + other.result())


def fib_with_walltimes(pool: Any, n: int) -> int:
    if n < 2:
        return n
    limited = pool.options(walltime=60)
    one, other = (limited.submit(fib_with_walltimes, pool, n - back) for back in (1, 2))
    return int(one.result() + other.result())


def maps(pool: Any, count: int) -> list[list[int]]:
    numbers = range(count)
    return [
        list(pool.map(one_more, numbers)),
        list(pool.map(one_more, numbers, chunksize=3)),
        list(pool.map(one_more, numbers, buffersize=2)),
        sorted(pool.map(one_more, numbers, unordered=True)),
        list(pool.starmap(add, [(number, 1) for number in numbers])),
        list(Executor.map(pool, one_more, numbers)),
    ]


def chain(pool: Any, length: int) -> int:
    """Each call needs the one before."""
    future: Any = 0
    for _ in range(length):
        future = pool.submit(one_more, future)
    return int(future.result())


def needs_a_failed_one(pool: Any, is_known: bool) -> str:
    bad = pool.submit(fail, "the root")
    if is_known:
        bad.exception()
    future = pool.submit(one_more, bad)
    return repr(future.exception())


def waits(pool: Any, count: int) -> tuple[list[int], list[int]]:
    futures = [pool.submit(one_more, number) for number in range(count)]
    done, not_done = wait(futures)
    assert not not_done
    more = [pool.submit(one_more, number) for number in range(count)]
    return sorted(f.result() for f in done), sorted(f.result() for f in as_completed(more))


def waits_in_threads(pool: Any, count: int) -> list[int]:
    found: list[int] = []

    def work(number: int) -> None:
        found.append(pool.submit(one_more, number).result())

    threads = [threading.Thread(target=work, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sorted(found)


def waits_in_asyncio(pool: Any, count: int) -> list[int]:
    async def work() -> list[int]:
        return list(
            await asyncio.gather(*[asyncio.wrap_future(pool.submit(one_more, number)) for number in range(count)])
        )

    return asyncio.run(work())


def times_out(pool: Any, path: str) -> str:
    future = pool.submit(pid_after, path)
    try:
        future.result(timeout=0.05)
    except FuturesTimeoutError as error:
        name = type(error).__name__
    note(path)
    return f"{name} {future.result() > 0}"


def cancels(pool: Any, path: str) -> list[bool]:
    """With one worker, that is ours: nothing has begun."""
    future: Future[Any] = pool.submit(note, path)
    dependent = pool.submit(one_more, future)
    answers = [future.cancel(), future.cancelled(), future.cancel()]
    return [*answers, type(dependent.exception()).__name__ == "DependencyError", os.path.exists(path)]


def forks(pool: Any, path: str) -> int:
    future = pool.submit(one_more, 1)
    child = os.fork()
    if not child:
        lines = []
        for use in (lambda: pool.submit(one_more, 1), future.result):
            try:
                use()
            except RuntimeError as error:
                lines.append(str(error))
        with open(path, "w") as file:
            file.write("\n".join(lines))
        os._exit(0)
    os.waitpid(child, 0)
    return int(future.result())


def keeps(pool: Any) -> None:
    """Leaves a future and a pool behind."""
    KEPT["pool"], KEPT["future"] = pool, pool.submit(one_more, 1)


def uses_what_was_kept() -> tuple[int, str]:
    try:
        KEPT["future"].result()
    except RuntimeError as error:
        return KEPT["pool"].submit(one_more, 1).result(), str(error)
    raise AssertionError("it had ended already")


def starts_and_waits(pool: Any, parent: str, note: str, path: str, children: int, timeout: float | None) -> list[int]:
    """Waits for children that wait for a file."""
    with open(parent, "a") as file:
        file.write(f"{os.getpid()}\n")
    futures = [pool.submit(note_and_wait, note, path) for _ in range(children)]
    return [future.result(timeout) for future in futures]


def starts_and_forgets(pool: Any, path: str, children: int) -> None:
    for number in range(children):
        pool.submit(note, f"{path}-{number}")


class Model:
    """Holds the pool that it is mapped over, as objects of some frameworks do."""

    def __init__(self, pool: Any) -> None:
        self.pool = pool
        self.scale = 3

    def score(self, x: int) -> int:
        return self.scale * x

    def fit(self, count: int) -> int:
        return sum(self.pool.map(self.score, range(count)))
