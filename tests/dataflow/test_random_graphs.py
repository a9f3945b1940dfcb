"""Random graphs of tasks, with failures, retries, joins, known calls and cancellations, against a sequential model."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import Future, wait
from typing import Any, NamedTuple

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from parsl_pool import Config, HighThroughputExecutor, ParslPoolExecutor, ThreadPoolExecutor
from parsl_pool.errors import DependencyError, JoinError

pytestmark = pytest.mark.timeout(180)

KINDS = ("plain", "fails", "retried", "handled", "join", "nested join", "cached", "cancelled")


class Node(NamedTuple):
    """A task: what it does, and the earlier tasks that it needs."""

    kind: str
    needs: tuple[int, ...]
    is_deep: bool  # they stand in a container


@st.composite
def graphs(draw: st.DrawFn) -> list[Node]:
    nodes: list[Node] = []
    for number in range(draw(st.integers(1, 25))):
        earlier = st.integers(0, number - 1) if number else st.nothing()
        needs = draw(st.lists(earlier, max_size=4)) if number else []
        nodes.append(Node(draw(st.sampled_from(KINDS)), tuple(needs), draw(st.booleans())))
    return nodes


class TaskError(Exception):
    """What a task of this file raises."""


def total(parts: Any) -> int:
    if isinstance(parts, int):
        return parts
    return sum(map(total, parts.values() if isinstance(parts, dict) else parts))


def plain(number: int, *parts: Any) -> int:
    return number + total(parts)


def fails(number: int, *parts: Any) -> int:
    raise TaskError(number)


_seen = Counter[Any]()
_counting = threading.Lock()


def fails_at_first(mark: str, number: int, *parts: Any) -> int:
    with _counting:
        _seen[mark] += 1
        called = _seen[mark]
    if called < 3:
        raise TaskError(number)
    return plain(number, *parts)


def submit(pool: ParslPoolExecutor, mark: str, number: int, node: Node, futures: list[Any]) -> Any:
    needs = [futures[needed] for needed in node.needs]
    arguments = [{"deep": (needs,)}] if node.is_deep else needs
    if node.kind == "fails":
        return pool.options(retries=1, retry_delay=0.001).submit(fails, number, *arguments)
    if node.kind == "retried":
        # Where tasks run in processes they don't share the count: there is one worker then.
        return pool.options(retries=2).submit(fails_at_first, f"{mark}{number}", number, *arguments)
    if node.kind == "handled":
        view = pool.options(retries=1, retry_handler=lambda error, record: 0.5)
        return view.submit(fails_at_first, f"{mark}{number}", number, *arguments)
    if node.kind == "join":
        view = pool.options(join=True)
        return view.submit(lambda *values: pool.submit(plain, number, *values), *arguments)
    if node.kind == "nested join":
        view = pool.options(join=True)
        return view.submit(lambda *values: {"a": [pool.submit(plain, number, *values)], "b": 0}, *arguments)
    if node.kind == "cached":
        return pool.options(cache=True).submit(plain, number, *arguments)
    return pool.submit(plain, number, *arguments)


def check(nodes: list[Node], futures: list[Any]) -> None:
    """Each task has the value that it should have, or the right kind of error."""
    values: list[int | None] = []
    for number, (node, future) in enumerate(zip(nodes, futures)):
        if future.cancelled():
            assert node.kind == "cancelled"
            values.append(None)
        elif any(values[needed] is None for needed in node.needs):
            error = future.exception(0)
            assert isinstance(error, DependencyError) and not isinstance(error, JoinError)
            assert future.task_status() == "dep_fail"
            values.append(None)
        elif node.kind == "fails":
            assert isinstance(future.exception(0), TaskError) and len(future.attempts) == 2
            values.append(None)
        else:
            value = number + sum(values[needed] or 0 for needed in node.needs)
            assert total(future.result(0)) == value
            values.append(value)


def run(pool: ParslPoolExecutor, mark: str, nodes: list[Node]) -> None:
    futures: list[Any] = []
    for number, node in enumerate(nodes):
        futures.append(submit(pool, mark, number, node, futures))
        if node.kind == "cancelled":
            futures[-1].cancel()
    assert not wait(futures, 60).not_done
    check(nodes, futures)
    assert not pool._flow().is_busy()
    assert all(not backend.unfinished() for backend in pool.executors.values())


@pytest.fixture(scope="module", params=["threads", "inside"])
def pool(request: pytest.FixtureRequest) -> Iterator[ParslPoolExecutor]:
    if request.param == "threads":
        executor: Any = ThreadPoolExecutor(max_threads=3)
    else:
        executor = HighThroughputExecutor(max_workers_per_node=1, start_method="fork")
    with ParslPoolExecutor(Config([executor], internal_tasks_max_threads=2)) as pool:
        # All threads that it will ever have begin here.
        foreign: Future[int] = Future()
        waits = pool.submit(abs, foreign)
        foreign.set_result(-1)
        assert waits.result(30) == 1
        run(pool, "first", [Node(kind, (), False) for kind in KINDS] + [Node("join", (0, 2), True)] * 4)
        yield pool


_marks = iter(range(1 << 30))


@settings(max_examples=40, deadline=None, derandomize=False, suppress_health_check=[HealthCheck.too_slow])
@given(nodes=graphs())
def test_random_graphs(pool: ParslPoolExecutor, nodes: list[Node]) -> None:
    run(pool, f"{next(_marks)}-", nodes)
