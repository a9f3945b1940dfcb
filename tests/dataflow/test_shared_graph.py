"""16 threads that submit at once to one pool: calls, joins, known calls; each builds on the others' futures, and takes
some back."""

from __future__ import annotations

import random
import threading
from concurrent.futures import Future, wait
from typing import Any

import pytest

from parsl_pool import Config, HighThroughputExecutor, ParslPoolExecutor, ThreadPoolExecutor
from parsl_pool.errors import DependencyError, JoinError

pytestmark = pytest.mark.timeout(120)

THREADS = 16
CALLS = 40


class Step:
    """A call that a thread has made: what it needs is older."""

    def __init__(self, kind: str, needs: list[Step], number: int, future: Any) -> None:
        self.kind, self.needs, self.number, self.future = kind, needs, number, future
        self.was_cancelled = False

    def check(self) -> None:
        """By what became of what it needs, which others have checked."""
        failed = [step.future for step in self.needs if step.future.cancelled() or step.future.exception(0)]
        if self.future.cancelled():
            assert self.was_cancelled
        elif failed:
            assert isinstance(self.future.exception(0), (DependencyError, JoinError))
        elif self.kind == "fails":
            assert isinstance(self.future.exception(0), ZeroDivisionError)
        else:
            own = 0 if self.kind == "same" else self.number
            assert self.future.result(0) == own + sum(step.future.result(0) for step in self.needs)
        assert not self.was_cancelled or self.future.cancelled()


def total(number: int, *parts: int) -> int:
    return number + sum(parts)


def fails(number: int, *parts: int) -> float:
    return number / 0


def a_step(pool: ParslPoolExecutor, chance: random.Random, number: int, steps: list[Step]) -> Step:
    needs = [steps[-1 - chance.randrange(min(len(steps), 50))] for _ in range(chance.randrange(4))] if steps else []
    futures = [step.future for step in needs]
    kind = chance.choice(["plain", "plain", "retried", "join", "same", "fails"])
    if kind == "plain":
        future: Any = pool.submit(total, number, *futures)
    elif kind == "retried":
        future = pool.options(retries=1, retry_delay=0.001).submit(total, number, *futures)
    elif kind == "join":
        future = pool.options(join=True).submit(lambda *parts: pool.submit(total, number, *parts), *futures)
    elif kind == "same":
        future = pool.options(cache=True).submit(total, 0, *futures)
    else:
        future = pool.options(retry_delay=0.001).submit(fails, number, *futures)
    return Step(kind, needs, number, future)


@pytest.mark.parametrize("kind", ["threads", "inside"])
def test_16_threads_build_one_graph(kind: str) -> None:
    executor = ThreadPoolExecutor() if kind == "threads" else HighThroughputExecutor(max_workers_per_node=2)
    steps: list[Step] = []  # of all threads, each of which looks at the newest
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    together = threading.Barrier(THREADS)

    def build(thread: int) -> None:
        chance = random.Random(seed + thread)
        together.wait(20)
        for call in range(CALLS):
            steps.append(a_step(pool, chance, 1 + thread * CALLS + call, list(steps)))
            if chance.random() < 0.15:
                step = chance.choice(steps)
                step.was_cancelled = step.future.cancel() or step.was_cancelled

    with ParslPoolExecutor(Config([executor])) as pool:
        threads = [threading.Thread(target=build, args=(number,)) for number in range(THREADS)]
        for each in threads:
            each.start()
        for each in threads:
            each.join()
        assert len(steps) == THREADS * CALLS
        futures: list[Future[Any]] = [step.future for step in steps]
        assert not wait(futures, 60).not_done
        for step in steps:
            step.check()
        assert {"same", "join", "fails"} <= {step.kind for step in steps} and any(step.was_cancelled for step in steps)
        flow: Any = pool._flow()
        assert not flow.is_busy() and not len(flow._kernel) and not flow.reuse._table._running
