"""Made-up nodes, to try a Config on: `SimulatedProvider` starts them, and tasks on them only last.

    pool = ParslPoolExecutor(Config([HighThroughputExecutor(provider=SimulatedProvider(nodes=1000, max_blocks=1000))]))
    pool.map(last, [30.0] * 100_000)

The pool, its interchange, blocks, scaling and the messages are the real ones. Only the nodes are not.
"""

from __future__ import annotations

import time
from typing import TypeVar

T = TypeVar("T")


def last(seconds: float, result: T | None = None) -> T | None:
    """A task that only takes time: a worker sleeps, a simulated node lets the time go by on its clock.

    Args:
        seconds: how long it takes. A simulated node divides that by the provider's `speed`.
        result: what it returns.
    """
    time.sleep(seconds)
    return result
