"""`future[key]`, `future.name`, `await future`, and what a future tells of its task."""

import asyncio
import copy
import pickle
from collections.abc import Iterator
from concurrent.futures import as_completed, wait
from types import SimpleNamespace
from typing import Any

import pytest

from parsl_pool import DataFuture, File, ParslPoolExecutor, python_app
from parsl_pool.errors import DependencyError, WorkerLost
from parsl_pool.futures.stories import REASONS
from tests.eventually import eventually

pytestmark = pytest.mark.timeout(60)


def nested() -> Any:
    return SimpleNamespace(items={"a": [1, {"b": 5}]}, name="me", _hidden=3)


def die() -> None:
    import os

    os._exit(3)


@pytest.fixture
def pool(manager_inside: bool) -> Iterator[ParslPoolExecutor]:
    with ParslPoolExecutor(2, manager_inside=manager_inside) as pool:
        yield pool


def test_parts_chain_and_are_dependencies(pool: ParslPoolExecutor) -> None:
    future: Any = python_app(nested, pool)()
    part = future.items["a"][1]["b"]
    assert part.result() == 5 and part.tid == future.tid
    assert pool.submit(abs, future.items["a"][0]).result() == 1
    assert pool.submit(sum, [part, part, future.items["a"][0]]).result() == 11
    assert wait([part, future.name]).not_done == set()
    assert {each.result() for each in as_completed([future.name, part])} == {"me", 5}


def test_a_missing_part_is_an_error_of_the_part(pool: ParslPoolExecutor) -> None:
    future: Any = python_app(nested, pool)()
    assert isinstance(future.items["c"].exception(), KeyError)
    assert isinstance(future.other.exception(), AttributeError)
    assert isinstance(future["x"].exception(), TypeError)
    assert future.exception() is None
    above = pool.submit(abs, future.items["c"])
    error = above.exception()
    assert isinstance(error, DependencyError) and isinstance(error.__cause__, KeyError)


def test_a_failed_or_cancelled_task_has_no_parts(pool: ParslPoolExecutor) -> None:
    failed: Any = python_app(int, pool)("x")
    assert isinstance(failed["a"].real.exception(), ValueError)
    whole: Any = python_app(nested, pool)()
    held = pool.submit(str, whole.items)
    part = pool.submit(str, held)["a"]
    assert part.cancel() and part.cancelled() and not held.cancelled()


def test_private_names_are_not_lifted() -> None:
    with ParslPoolExecutor(1) as pool:
        future: Any = python_app(nested, pool)()
        with pytest.raises(AttributeError):
            future._hidden  # noqa: B018  # asking is the point
        with pytest.raises(TypeError):
            len(future)
        with pytest.raises(TypeError):
            iter(future)
        with pytest.raises(TypeError):
            3 in future  # noqa: B015  # as above
        with pytest.raises(Exception, match="can't be pickled"):
            pickle.dumps(future)
        with pytest.raises(Exception, match="can't be pickled"):
            copy.copy(future)


def test_futures_of_submit_have_no_other_attributes_than_they_had(pool: ParslPoolExecutor) -> None:
    """Libraries look at what a future has to find out whose it is."""
    future: Any = pool.submit(list, "ab")
    for name in ("exception_info", "traceback", "key", "get_loop"):
        assert not hasattr(future, name)
    assert future[1].result() == "b" and not hasattr(future[1], "key")


def test_await(pool: ParslPoolExecutor) -> None:
    async def main() -> tuple[int, list[int], str]:
        with pytest.raises(ValueError):
            await pool.submit(int, "x")
        both = await asyncio.gather(*[asyncio.wrap_future(pool.submit(abs, -n)) for n in range(3)])
        whole: Any = python_app(nested, pool)()
        return await pool.submit(abs, -7), both, await whole.name

    assert asyncio.run(main()) == (7, [0, 1, 2], "me")


def test_states_and_reasons(pool: ParslPoolExecutor) -> None:
    good, bad = pool.submit(abs, -1), pool.submit(int, "x")
    waits = pool.submit(abs, pool.submit(abs, -1))
    eventually(lambda: good.done() and bad.done() and waits.done())
    assert (good.task_status(), good.reason, good.culprit) == ("exec_done", None, None)
    assert (bad.task_status(), bad.reason, bad.culprit) == ("failed", "raised", "task")
    above = pool.submit(abs, bad)
    above.exception()
    assert (above.task_status(), above.reason, above.culprit) == ("dep_fail", "dependency", "task")
    lost = pool.submit(die)
    assert isinstance(lost.exception(), WorkerLost)
    assert (lost.reason, lost.culprit) == ("worker lost", "task")
    late = pool.options(walltime=0.2).submit(eval, "__import__('time').sleep(30)")
    late.exception()
    assert (late.reason, late.culprit) == ("walltime", "task")
    assert {lost.reason, late.reason, above.reason, bad.reason} <= {reason for reason, _ in REASONS}


def test_states_of_a_task_that_waits(pool: ParslPoolExecutor) -> None:
    first = pool.submit(eval, "__import__('time').sleep(1)")
    second = pool.submit(str, first)
    eventually(lambda: first.task_status() == "running")
    assert (second.task_status(), second.reason) == ("pending", None)
    assert second.cancel()
    assert (second.task_status(), second.reason, second.culprit) == ("cancelled", "cancelled", "user")


def test_attempts_tell_each_failed_try(pool: ParslPoolExecutor) -> None:
    future = pool.options(retries=2).submit(int, "x")
    assert future.exception() is not None
    assert [attempt.number for attempt in future.attempts] == [0, 1, 2]
    assert all("invalid literal" in attempt.error and attempt.ended >= attempt.began for attempt in future.attempts)


def test_a_data_future() -> None:
    with ParslPoolExecutor(1) as pool:
        task = pool.submit(abs, -1)
        future = DataFuture(task, "some/where.txt")
        assert (future.filename, future.filepath, future.tid) == ("where.txt", "some/where.txt", task.tid)
        assert future.result() == File("some/where.txt")
        assert pool.submit(str, future).result() == "some/where.txt"
        failed = DataFuture(pool.submit(int, "x"), File("x"), tid=77)
        assert isinstance(failed.exception(), ValueError) and failed.tid == 77
