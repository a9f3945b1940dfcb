"""A flow in a forked child of its process."""

from __future__ import annotations

import os
import threading
from collections.abc import Sequence

from parsl_pool import forked
from parsl_pool.dataflow.flow_task import Backend, FlowTask
from parsl_pool.dataflow.helpers import Helpers
from parsl_pool.dataflow.kernel import Kernel
from parsl_pool.dataflow.reuse import Reuse
from parsl_pool.forked import watch as watch


def disown(
    lock: threading.Lock, tasks: dict[int, FlowTask], kernel: Kernel, helpers: Helpers, backends: Sequence[Backend]
) -> BaseException | None:
    """End the copies of the parent's tasks: their error. None if the pool has not been used, and can be here, too."""
    lock._at_fork_reinit()  # type: ignore[attr-defined]  # private, and made for that
    helpers.disown()
    if all(backend.is_new for backend in backends):
        return None
    error = forked.foreign(os.getppid())
    kernel.disown(error)
    for task in tasks.values():
        task.is_over = True
        task.future.disown(error)
    tasks.clear()
    return error


def refuse(error: BaseException, helpers: Helpers) -> Reuse:
    """In the place of what remembers results: that is the parent's."""
    raise error
