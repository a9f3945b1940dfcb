"""How the workers of one executor are to start: by which method, with what imported, with what called first."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from typing import Any

from parsl_pool import checks

_METHODS = ("fork", "forkserver", "spawn")


class WorkerStart:
    """See the arguments of `HighThroughputExecutor`.

    The initializer is pickled once, by the thread that starts the executor; whoever comes later finds it pickled.

    Attributes:
        max_tasks: 0: no limit.
        is_eager: True if all workers are wanted at once, not with the tasks.
    """

    def __init__(
        self,
        method: str,
        preload: Iterable[str],
        initializer: Callable[..., object] | None,
        initargs: tuple[Any, ...],
        max_tasks_per_child: int | None,
    ) -> None:
        self.method = checks.one_of(*_METHODS)("start_method", method)
        self.is_eager = method == "fork"
        self.preload = checks.module_names("preload", preload)
        self.max_tasks: int = checks.optional(checks.whole(above=0))("max_tasks_per_child", max_tasks_per_child) or 0
        self._initializer = checks.optional(checks.function)("initializer", initializer)
        self._initargs = checks.arguments("initargs", initargs)
        self._dumped: tuple[bytes, list[int]] | None = None

    def dumped(self, inside: bool) -> tuple[bytes, list[int]]:
        """The pickled initializer, b"" for none; and the descriptors that it needs, which stay ours.

        Raises:
            SerializationError: it can't be pickled.
        """
        if self._dumped is None:
            self._dumped = self._dump(inside)
        return self._dumped

    def _dump(self, inside: bool) -> tuple[bytes, list[int]]:
        if self._initializer is None:
            return b"", []
        from parsl_pool.executors.high_throughput import initargs  # rarely needed

        return initargs.dump_for(inside, self._initializer, self._initargs)

    def forget(self) -> None:
        """The user's objects end with the pool, not with the next garbage collection."""
        if self._dumped is not None:
            for fd in self._dumped[1]:
                os.close(fd)
            self._dumped = b"", []
        self._initializer, self._initargs = None, ()
