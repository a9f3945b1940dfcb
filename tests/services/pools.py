"""Pools on a real scheduler, and what their tasks say of the place they ran at."""

import os
import socket
import time
from pathlib import Path
from typing import Any

from parsl_pool import Config, HighThroughputExecutor, ParslPoolExecutor


def pool_on(provider: Any, run_dir: Path, *, workers: int = 2, **options: Any) -> ParslPoolExecutor:
    """A pool of managers on this provider's blocks, of which it asks often."""
    provider.status_polling_interval = 0.5
    config = {name: options.pop(name) for name in ("retries", "lost_retries", "strategy") if name in options}
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
