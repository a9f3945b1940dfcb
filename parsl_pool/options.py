"""Options of single calls: `pool.options(retries=2, label="fit").submit(f, x)`.

They are apart from the function's own keywords, which are never taken.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future
from typing import Any, TypeVar

from parsl_pool import mapping
from parsl_pool.dataflow.record import Options
from parsl_pool.errors import ConfigurationError
from parsl_pool.futures import AppFuture

T = TypeVar("T")

_KNOWN = ("retries", "lost_retries", "priority", "label", "walltime", "executors")


def changed(options: Options, changes: dict[str, Any]) -> Options:
    """The options with some changed.

    Raises:
        ConfigurationError: an option that doesn't exist, or a value that can't be.
    """
    for name in changes:
        if name not in _KNOWN:
            raise ConfigurationError(f"there is no option {name!r}; there are: {', '.join(_KNOWN)}")
    for name in ("retries", "lost_retries"):
        value = changes.get(name, 0)
        if type(value) is not int or value < 0:
            raise ConfigurationError(f"{name} must be a whole number of at least 0, got {value!r}")
    priority = changes.get("priority", 0)
    if type(priority) is not int or not -(1 << 31) <= priority < 1 << 31:
        raise ConfigurationError(f"priority must be a whole number (lower goes first), got {priority!r}")
    walltime = changes.get("walltime")
    if walltime is not None and (type(walltime) not in (int, float) or not 0 < walltime < 4e6):
        raise ConfigurationError(f"walltime must be a number of seconds above 0, got {walltime!r}")
    if not isinstance(changes.get("label", ""), str):
        raise ConfigurationError(f"label must be a text, got {changes['label']!r}")
    if "executors" in changes:
        changes = {**changes, "executors": _labels(changes["executors"])}
    return options._replace(**changes)


def _labels(executors: Any) -> tuple[str, ...]:
    if executors == "all":
        return ()
    labels = (executors,) if isinstance(executors, str) else tuple(executors)
    if not labels or not all(isinstance(label, str) for label in labels):
        raise ConfigurationError(f'executors must be "all" or a list of labels, got {executors!r}')
    return labels


class PoolView(Executor):
    """The same pool, with other options for the calls that go through here."""

    def __init__(self, pool: Any, options: Options) -> None:
        self._pool, self._options = pool, options
        self._max_workers = pool._max_workers

    def submit(self, fn: Callable[..., T], /, *args: Any, **kwargs: Any) -> AppFuture[T]:
        """As the pool's own."""
        future: AppFuture[T] = self._pool.submit_with(self._options, fn, args, kwargs)
        return future

    def map(
        self,
        fn: Callable[..., T],
        *iterables: Iterable[Any],
        timeout: float | None = None,
        chunksize: int = 1,
        buffersize: int | None = None,
        unordered: bool = False,
    ) -> Iterator[T]:
        """As the pool's own."""
        return mapping.map_over(
            self, fn, iterables, timeout=timeout, chunksize=chunksize, buffersize=buffersize, unordered=unordered
        )

    def starmap(
        self, fn: Callable[..., T], iterable: Iterable[Iterable[Any]], chunksize: int = 1, timeout: float | None = None
    ) -> Iterator[T]:
        """As the pool's own."""
        return mapping.map_over(
            self, fn, (iterable,), timeout=timeout, chunksize=chunksize, buffersize=None, unordered=False, star=True
        )

    def submit_chunk(self, fn: Callable[..., Any], calls: list[tuple[Any, ...]]) -> Future[Any]:
        """Several calls as one task."""
        future: Future[Any] = self._pool.submit_chunk(fn, calls, self._options)
        return future

    def options(self, **changes: Any) -> PoolView:
        """The same again, with further options."""
        return PoolView(self._pool, self._pool.check_options(changed(self._options, changes)))

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Shut the pool itself down."""
        self._pool.shutdown(wait, cancel_futures=cancel_futures)

    def __repr__(self) -> str:
        return f"<{self._pool!r} with {self._options!r}>"
