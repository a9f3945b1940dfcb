"""The files that come to one task, where it runs: several of them at a time."""

from __future__ import annotations

import os
import resource
import threading
from collections import deque
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack, suppress
from contextvars import copy_context
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from parsl_pool.staging import kept

AT_A_TIME = 8

_OTHER_DESCRIPTORS = 256


class Input(NamedTuple):
    """A file that is to be at a path while the task runs.

    Attributes:
        fetch: brings it; called with the URL, a path and the options.
        path: DIRECTORY/FILE/USE/NAME; see `kept`.
        most_bytes: files that nobody uses are removed when there are more bytes in the directory.
    """

    fetch: Callable[[str, Path, Any], object]
    url: str
    path: str
    options: Any
    most_bytes: int

    def used(self) -> AbstractContextManager[object]:
        """The file is there, and stays, as long as this lasts."""
        return kept.used(kept.Wanted(self.url, self.path, self._bring, self.most_bytes))

    def _bring(self, target: Path) -> None:
        self.fetch(self.url, target, self.options)


def added(func: Callable[..., Any], one: Input) -> Callable[..., Any]:
    """The function with one file more that has to be there."""
    if isinstance(func, partial) and func.func is with_inputs:
        inner, inputs = func.args
        return partial(with_inputs, inner, (*inputs, one))
    return partial(with_inputs, func, (one,))


def with_inputs(func: Callable[..., Any], inputs: tuple[Input, ...], /, *args: Any, **kwargs: Any) -> Any:
    """Run the function when all these files are there. Raises what bringing them raises, and what it raises."""
    with ExitStack() as held:
        _allow_descriptors(len(inputs))
        missing = []
        for one in inputs:
            if os.path.exists(one.path):
                held.enter_context(one.used())
            else:
                missing.append(one)
        if len(missing) == 1:
            held.enter_context(missing[0].used())
        elif missing:
            _Bringing(missing, held).wait()
        return func(*args, **kwargs)


def _allow_descriptors(count: int) -> None:
    """Each file has a lock, and each lock a descriptor; many systems give a process 1,024 unless it asks for more."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = count + _OTHER_DESCRIPTORS
    if resource.RLIM_INFINITY not in (soft, hard):
        wanted = min(wanted, hard)
    if soft != resource.RLIM_INFINITY and wanted > soft:
        with suppress(ValueError, OSError):  # then whoever lacks one says so
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


class _Bringing:
    """Files that are brought by several threads.

    When one of them fails, or the task is interrupted, nobody waits for the others: those that are under way end by
    themselves, and stay for whoever needs them next.
    """

    def __init__(self, inputs: list[Input], held: ExitStack) -> None:
        self._lock = threading.Lock()  # guards what follows
        self._todo = deque(inputs)
        self._held = held  # those that are there; not touched any more once nobody waits
        self._missing = len(inputs)
        self._problem: BaseException | None = None
        self._is_over = False
        self._ended = threading.Event()  # all are there, or one has failed

    def wait(self) -> None:
        """Bring them. Raises what bringing one of them raises."""
        try:
            for _ in range(min(AT_A_TIME, len(self._todo))):
                # In the context of the task, as the function: what it has set there is for what fetches, too.
                run = partial(copy_context().run, self._bring_some)
                threading.Thread(target=run, name="parsl-pool-transfer", daemon=True).start()
            self._ended.wait()
        finally:
            with self._lock:
                self._is_over = True
        if self._problem is not None:
            raise self._problem

    def _bring_some(self) -> None:
        while (one := self._next()) is not None:
            with ExitStack() as mine:
                try:
                    mine.enter_context(one.used())
                except BaseException as problem:  # raised in the task
                    self._failed(problem)
                    return
                self._hand_over(mine)

    def _next(self) -> Input | None:
        with self._lock:
            return self._todo.popleft() if self._todo and not self._is_over else None

    def _failed(self, problem: BaseException) -> None:
        with self._lock:
            if not self._is_over:
                self._is_over, self._problem = True, problem
        self._ended.set()

    def _hand_over(self, mine: ExitStack) -> None:
        """It is there for the task; left at once where nobody waits any more."""
        with self._lock:
            if self._is_over:
                return
            self._held.enter_context(mine.pop_all())
            self._missing -= 1
            is_last = not self._missing
        if is_last:
            self._ended.set()
