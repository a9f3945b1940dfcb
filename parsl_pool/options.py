"""Options of single calls: `pool.options(retries=2, label="fit").submit(f, x)`.

They are apart from the function's own keywords, which are never taken.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Executor, Future
from typing import Any, TypeVar

from parsl_pool import checks, mapping, resources, sandboxing
from parsl_pool.dataflow.record import Options
from parsl_pool.dataflow.resolvers import DependencyResolver
from parsl_pool.futures import AppFuture

T = TypeVar("T")

def changed(options: Options, changes: dict[str, Any]) -> Options:
    """The options with some changed.

    Raises:
        ConfigurationError: an option that doesn't exist, or a value that can't be.
        InvalidResourceSpecification: resources that no executor knows.
    """
    checks.reject_unknown(changes, RULES, "option")
    made = options._replace(**{name: RULES[name](name, value) for name, value in changes.items()})
    return resources.asking(made, made.resources, changes.get("priority")) if "resources" in changes else made


def check_resources(options: Options, backends: Mapping[str, Any]) -> None:
    """Raise InvalidResourceSpecification if there is one, and an executor that may get the call can't do with it."""
    asked = options.resources
    if asked is None:
        return
    if options.join:
        raise resources.wrong("", "a join runs in this process; give them to the calls that it makes", asked.given)
    for label in options.executors or backends:
        backends[label].check_resources(asked)


def _labels(executors: Any) -> tuple[str, ...]:
    if isinstance(executors, str):
        return () if executors == "all" else (executors,)
    labels = tuple(_LABELS._accept(executors))
    if not labels:
        raise ValueError("there is none in it")
    return labels


_NAMES = checks.list_of(checks.name, "a list of argument names")
_LABELS = checks.list_of(checks.name, '"all", a label or a list of labels')

RULES: Mapping[str, Callable[[str, Any], Any]] = {
    "retries": checks.budget,
    "lost_retries": checks.budget,
    "priority": checks.whole(least=-(1 << 31), most=(1 << 31) - 1),
    "label": checks.short_text,
    "walltime": checks.optional(checks.number(above=0, most=4e6, kind="a number of seconds")),
    "executors": checks.Rule('"all", a label or a list of labels', "", _labels),
    "cache": checks.flag,
    "ignore_for_cache": checks.Rule("a list of argument names", "", lambda value: tuple(_NAMES._accept(value or ()))),
    "retry_handler": checks.optional(checks.function),
    "retry_delay": checks.number(least=0, most=3600, kind="a number of seconds"),
    "join": checks.flag,
    "resources": resources.asked,
    "result": checks.one_of("value", "ref"),
    "sandbox": sandboxing.RULE,
    "dependency_resolver": checks.optional(checks.instance_of(DependencyResolver, "a DependencyResolver")),
}
"""What each option may be."""


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

    def __reduce__(self) -> tuple[Any, ...]:
        """As the pool's own; the options that a call inside of a task can have go with it."""
        restore, known = self._pool.__reduce__()
        defaults = self._pool.default_options
        names = ("retries", "lost_retries", "priority", "label", "walltime")
        mine: dict[str, Any] = {name: getattr(self._options, name) for name in names}
        mine["resources"] = self._options.resources and self._options.resources.given
        return restore, (*known, {name: value for name, value in mine.items() if value != getattr(defaults, name)})

    def __repr__(self) -> str:
        return f"<{self._pool!r} with {self._options!r}>"
