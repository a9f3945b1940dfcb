"""Pools on a real scheduler, and what their tasks say of the place they ran at."""

import os
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from parsl_pool import Config, HighThroughputExecutor, ParslPoolExecutor
from tests.eventually import eventually

OF_POOLS = {
    "retries", "lost_retries", "strategy", "max_idletime", "strategy_period", "heartbeat_period", "heartbeat_threshold",
}  # fmt: skip
_OF_CONFIG = {"retries", "lost_retries", "strategy", "max_idletime", "strategy_period"}
TASKS = 200
TASK_S = 0.1
_MANY = 20


def pool_on(provider: Any, run_dir: Path, *, workers: int = 2, **options: Any) -> ParslPoolExecutor:
    """A pool of managers on this provider's blocks, of which it asks often."""
    provider.status_polling_interval = 0.5
    config = {name: options.pop(name) for name in _OF_CONFIG & set(options)}
    executor = HighThroughputExecutor(
        "site", provider=provider, max_workers_per_node=workers, address="127.0.0.1", **options
    )
    return ParslPoolExecutor(config=Config(executors=[executor], run_dir=run_dir, **config))


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
