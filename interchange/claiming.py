"""Claims in the place of managers that have no part in the client's table: those of other hosts.

What goes to one of them has begun, as far as `cancel()` and `running()` can know; the standard library's pool treats
what is in its call queue in the same way. All else, the backlog, waits in the interchange, and can be cancelled.
"""

from __future__ import annotations

import os

from parsl_pool.interchange import columns, shared_memory, wire
from parsl_pool.interchange.page import CLAIMS_SIZE, ClaimsTable


class Claiming:
    """The interchange's view of the client's table."""

    def __init__(self, fd: int) -> None:
        """Raises OSError."""
        self._table = ClaimsTable(shared_memory.map_shared(fd, CLAIMS_SIZE))

    def claim(self, tasks: columns.Tasks) -> tuple[columns.Tasks | None, columns.Results | None]:
        """The tasks that may be sent, and results for those that were cancelled before."""
        ids = tasks.task_ids()
        cancelled = frozenset(self._table.claim_all(ids))
        if not cancelled:
            return tasks, None
        for fd in tasks.descriptors or ():  # such a frame has one task
            os.close(fd)
        results = [columns.result_of(task, wire.CANCELLED, b"") for task in ids if task in cancelled]
        merged = columns.Results(len(results), b"".join(r.ids for r in results), b"".join(r.records for r in results))
        left = [columns.single(tasks, place) for place, task in enumerate(ids) if task not in cancelled]
        return columns.Tasks.join(left) if left else None, merged
