"""`Executor.map`, in all its forms."""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, InvalidStateError, wait
from concurrent.futures import TimeoutError as FuturesTimeoutError
from contextlib import suppress
from time import monotonic
from typing import Any

from parsl_pool import checks
from parsl_pool.errors import WrongType, shown
from parsl_pool.executors.high_throughput.outcomes import PartialChunk

_BUFFERSIZE = checks.optional(checks.size)


def map_over(
    pool: Any,
    fn: Callable[..., Any],
    iterables: tuple[Iterable[Any], ...],
    *,
    timeout: float | None,
    chunksize: int,
    buffersize: int | None,
    unordered: bool,
    star: bool = False,
) -> Iterator[Any]:
    """See `ParslPoolExecutor.map`. star: the one iterable's items are argument tuples."""
    fn = checks.function("fn", fn)
    chunksize = checks.size("chunksize", chunksize)
    buffersize = _BUFFERSIZE("buffersize", buffersize)
    unordered = checks.flag("unordered", unordered)
    timeout = checks.timeout("timeout", timeout)
    deadline = None if timeout is None else timeout + monotonic()
    for position, iterable in enumerate(iterables):
        _check_iterable("iterable" if star else f"iterables[{position}]", iterable)
    calls: Iterator[tuple[Any, ...]] = map(_unpacked, iterables[0]) if star else zip(*iterables)
    if "submit" in pool.__dict__:
        chunksize = 1  # somebody has put their own submit there, and counts on seeing every call
    futures = _submissions(pool, fn, calls, chunksize)
    if unordered:
        return _unordered(deque(itertools.islice(futures, buffersize)), futures, deadline, chunksize)
    # Submitted here, not when the first result is asked for: the generator below begins to run only then.
    return _ordered(deque(itertools.islice(futures, buffersize)), futures, deadline, chunksize)


def _check_iterable(name: str, value: object) -> None:
    """Ask the type: to call iter() would take something from some of them."""
    if not hasattr(type(value), "__iter__") and not hasattr(type(value), "__getitem__"):
        raise WrongType(f"{name} must be an iterable, got {shown(value)}")


def _unpacked(item: Iterable[Any]) -> tuple[Any, ...]:
    try:
        return tuple(item)
    except TypeError:
        _check_iterable("each item of iterable", item)  # the user's own error is no business of ours
        raise


def _submissions(
    pool: Any, fn: Callable[..., Any], calls: Iterator[tuple[Any, ...]], chunksize: int
) -> Iterator[Future[Any]]:
    if chunksize == 1:
        submit = pool.submit
        for args in calls:
            yield submit(fn, *args)
        return
    while chunk := list(itertools.islice(calls, chunksize)):
        yield pool.submit_chunk(fn, chunk)


def _ordered(
    started: deque[Future[Any]], more: Iterator[Future[Any]], deadline: float | None, chunksize: int
) -> Iterator[Any]:
    # Nothing here may keep a result alive while its user has it: so no variable holds one across a yield.
    try:
        while started:
            if chunksize == 1:
                yield _next_result(started, more, deadline)
            else:
                yield from _items(_next_result(started, more, deadline))
    finally:
        _cancel(started)


def _next_result(started: deque[Future[Any]], more: Iterator[Future[Any]], deadline: float | None) -> Any:
    result = _result(started.popleft(), deadline)
    following = next(more, None)
    if following is not None:
        started.append(following)
    return result


def _result(future: Future[Any], deadline: float | None) -> Any:
    try:
        return future.result(None if deadline is None else deadline - monotonic())
    except BaseException:
        future.cancel()  # it may be a time-out, or Ctrl-C
        raise
    finally:
        del future  # an error's traceback would keep it, and it the error


def _items(result: Any) -> Iterator[Any]:
    if type(result) is PartialChunk:
        yield from result.values
        raise result.error
    result.reverse()
    while result:
        yield result.pop()


def _unordered(
    started: deque[Future[Any]], more: Iterator[Future[Any]], deadline: float | None, chunksize: int
) -> Iterator[Any]:
    pending = set(started)
    started.clear()
    try:
        while pending:
            left = None if deadline is None else max(0.0, deadline - monotonic())
            done, pending = wait(pending, left, FIRST_COMPLETED)
            if not done:
                raise FuturesTimeoutError()
            while done:
                following = next(more, None)
                if following is not None:
                    pending.add(following)
                if chunksize == 1:
                    yield done.pop().result()
                else:
                    yield from _items(done.pop().result())
    finally:
        _cancel(pending)


def _cancel(futures: Iterable[Future[Any]]) -> None:
    for future in futures:
        future.cancel()


def gather(futures: list[Future[Any]]) -> Future[Any]:
    """One future of all their results, or of a PartialChunk, for a chunk that could not be sent as one."""
    whole: Future[Any] = Future()
    left = itertools.count(1)

    def one_done(_: Future[Any]) -> None:
        if next(left) < len(futures):
            return
        values: list[Any] = []
        outcome: Any = values
        try:
            for future in futures:
                values.append(future.result())
        except BaseException as error:  # the first call's that failed
            outcome = PartialChunk(values, error)
        with suppress(InvalidStateError):  # it has been cancelled
            whole.set_result(outcome)

    for future in futures:
        future.add_done_callback(one_done)
    return whole
