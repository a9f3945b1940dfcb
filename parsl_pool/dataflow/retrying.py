"""Whether a task that has failed is tried again, and when."""

from __future__ import annotations

import math
from typing import Any

from parsl_pool.dataflow.record import FlowRecord
from parsl_pool.errors import shown


def cost_of(error: BaseException, record: FlowRecord) -> float:
    """What a failed try costs of the budget `retries`: 1, or what the user's handler says.

    Raises:
        BaseException: the handler does: then there are no more tries.
        TypeError: what it says is no number.
    """
    handler = record.options.retry_handler
    if handler is None:
        return 1.0
    cost: Any = handler(error, record)
    if isinstance(cost, bool) or not isinstance(cost, (int, float)) or math.isnan(cost):
        raise TypeError(f"the retry_handler must return a number, the cost of this failure, and returned {shown(cost)}")
    return float(cost)


def delay_before(record: FlowRecord) -> float:
    """Seconds to wait before the next try: twice as many as before the last one, an hour at most."""
    first = record.options.retry_delay
    return min(3600.0, first * 2.0 ** min(40, record.fail_count - 1)) if first else 0.0
