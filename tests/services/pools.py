"""Pools on a real scheduler, and what their tasks say of the place they ran at."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from parsl_pool import Config, HighThroughputExecutor, ParslPoolExecutor
from parsl_pool.errors import ParslPoolError
from parsl_pool.providers.cluster import ClusterProvider
from tests.eventually import eventually
from tests.services.clusters import Cluster

NewPool = Callable[..., Any]

OF_POOLS = {
    "retries", "lost_retries", "strategy", "max_idletime", "strategy_period", "heartbeat_period", "heartbeat_threshold",
    "drain_period", "block_start_timeout", "cpu_affinity",
}  # fmt: skip
_OF_CONFIG = {"retries", "lost_retries", "strategy", "max_idletime", "strategy_period"}
TASKS = 200
TASK_S = 0.1
_MANY = 20


def pool_on(provider: Any, run_dir: Path, *, workers: int | None = 2, **options: Any) -> ParslPoolExecutor:
    """A pool of managers on this provider's blocks, of which it asks often."""
    provider.status_polling_interval = 0.5
    config = {name: options.pop(name) for name in _OF_CONFIG & set(options)}
    executor = HighThroughputExecutor(
        "site", provider=provider, max_workers_per_node=workers, address="127.0.0.1", **options
    )
    return ParslPoolExecutor(config=Config(executors=[executor], run_dir=run_dir, **config))


def makes_pools(kind: type[ClusterProvider], runs: Path, **defaults: Any) -> Iterator[NewPool]:
    """For a fixture: it makes pools, and what a failed test has left of them is ended."""
    made: list[ParslPoolExecutor] = []

    def new(workers: int | None = 2, **options: Any) -> ParslPoolExecutor:
        more = {name: options.pop(name) for name in OF_POOLS & set(options)}
        made.append(pool_on(kind(**{**defaults, **options}), runs, workers=workers, **more))
        return made[-1]

    yield new
    for pool in made:
        pool.kill_workers()


def breaks_and_says(pool: Any, cluster: Cluster, words: list[str]) -> None:
    """No block of it comes: the error has all these words, and no job is left."""
    error = pool.submit(where, 1).exception(60)
    assert isinstance(error, ParslPoolError)
    for word in words:
        assert word in str(error)
    pool.shutdown()
    assert not cluster.left(20)


def where(number: int, seconds: float = 0.0) -> tuple[int, str]:
    """The number, and the host."""
    time.sleep(seconds)
    return number, socket.gethostname()


def note(number: int, place: str, seconds: float) -> int:
    """The number; a file in `place` says that this has begun, and on which host."""
    with open(os.path.join(place, f"{number}.{os.getpid()}"), "w") as file:
        file.write(socket.gethostname())
    time.sleep(seconds)
    return number


class Load:
    """Tasks, and what the files that they have written tell of them."""

    def __init__(self, pool: Any, place: Path) -> None:
        self.pool, self.place = pool, place
        place.mkdir()
        self.futures: list[Any] = []

    def add(self, count: int, seconds: float = TASK_S) -> None:
        first = len(self.futures)
        self.futures += [
            self.pool.submit(note, number, str(self.place), seconds) for number in range(first, first + count)
        ]

    def hosts(self) -> set[str]:
        return {file.read_text() for file in self.place.iterdir()} - {""}

    def runs_on(self, hosts: set[str]) -> None:
        """Wait until all these have begun tasks."""
        self.add(TASKS // 4)
        assert eventually(lambda: self.hosts() == hosts or self._more(), 60), self.pool.explain()

    def _more(self) -> bool:
        if all(future.done() for future in self.futures):
            self.add(TASKS // 4)
        return False

    def goes_on_until(self, check: Callable[[], Any], within: float = 60) -> None:
        """There are more tasks than workers until `check` gives something true."""

        def is_so() -> bool:
            if sum(not future.done() for future in self.futures) < _MANY:
                self.add(_MANY)
            return bool(check())

        assert eventually(is_so, within), self.pool.explain()

    def is_done(self, within: float = 120) -> bool:
        """Every task has its result."""
        return [future.result(within) for future in self.futures] == list(range(len(self.futures)))


_CLIENT = """
import sys, time
from parsl_pool import providers
from tests.services.pools import note, pool_on
if __name__ == "__main__":
    pool = pool_on(providers.{provider}, sys.argv[1])
    futures = [pool.submit(note, number, sys.argv[2], 1000) for number in range({tasks})]
    time.sleep(1000)
"""


@contextmanager
def client_of(place: Path, provider: str, tasks: int) -> Iterator[None]:
    """A program with such a pool runs meanwhile, and is killed then. Its runs and what tasks note are in `place`."""
    root = Path(__file__).parents[2]
    (place / "begun").mkdir()
    program = _CLIENT.format(provider=provider, tasks=tasks)
    command = [sys.executable, "-c", program, str(place / "runs"), str(place / "begun")]
    with subprocess.Popen(command, cwd=root, env={**os.environ, "PYTHONPATH": str(root)}) as client:
        try:
            yield
        finally:
            client.kill()
