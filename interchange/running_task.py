"""The task that runs in this thread or process, as the task itself sees it: what `parsl_pool.task` is a face of."""

from __future__ import annotations

import sys
from typing import Any


def line_of_worker() -> Any:
    """The TaskLine of this process if it is a worker, else None."""
    module = sys.modules.get("parsl_pool.interchange.worker")
    worker = module.here if module is not None else None
    if worker is None:
        return None
    if worker.line is None:
        from parsl_pool.interchange.task_line import TaskLine  # most tasks say nothing

        worker.line = TaskLine(worker)
    return worker.line
