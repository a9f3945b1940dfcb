"""Resolvers of dependencies: what a call waits for, and what its function gets."""

from collections.abc import Iterator
from concurrent.futures import Future
from typing import Any

import pytest

from parsl_pool import Config, ParslPoolExecutor, ThreadPoolExecutor
from parsl_pool.dataflow.resolvers import (
    DEEP_DEPENDENCY_RESOLVER,
    SHALLOW_DEPENDENCY_RESOLVER,
    DependencyResolver,
    deep_futures,
    deep_value,
)
from parsl_pool.errors import DependencyError, SerializationError

pytestmark = pytest.mark.timeout(60)


class Box:
    """A container of the user's, without pickling for threads to look at."""

    def __init__(self, inside: Any) -> None:
        self.inside = inside


@deep_futures.register
def _(box: Box) -> list[Future[Any]]:
    return deep_futures(box.inside)


@deep_value.register
def _(box: Box) -> Box:
    return Box(deep_value(box.inside))


def kinds(*args: Any, inputs: Any = (), **kwargs: Any) -> list[str]:
    return [type(value).__name__ for value in [*args, *inputs, *kwargs.values()]]


def inside(box: Box) -> Any:
    return box.inside


@pytest.fixture(params=["threads", "inside"])
def pool(request: pytest.FixtureRequest) -> Iterator[ParslPoolExecutor]:
    config = Config([ThreadPoolExecutor()]) if request.param == "threads" else None
    with ParslPoolExecutor(config) if config is not None else ParslPoolExecutor(1) as pool:
        yield pool


def test_shallow(pool: ParslPoolExecutor) -> None:
    view = pool.options(dependency_resolver=SHALLOW_DEPENDENCY_RESOLVER)
    one = pool.submit(abs, -1)
    assert view.submit(kinds, one, inputs=[one, 2], x=one).result() == ["int"] * 4
    nested = view.submit(inside, Box(one))
    if "threads" in pool.executors:
        assert nested.result() is one
    else:
        assert isinstance(nested.exception(), SerializationError)
        assert "the dependency resolver has left it in a container" in str(nested.exception())


def test_deep_with_a_type_of_the_users(pool: ParslPoolExecutor) -> None:
    view = pool.options(dependency_resolver=DEEP_DEPENDENCY_RESOLVER)
    later: Future[int] = Future()
    future = view.submit(inside, Box([later, {"a": pool.submit(abs, -2)}]))
    assert not future.done()
    later.set_result(1)
    assert future.result() == [1, {"a": 2}]
    failed = view.submit(inside, Box(pool.submit(int, "x")))
    assert isinstance(failed.exception(), DependencyError)


def test_one_of_the_users(pool: ParslPoolExecutor) -> None:
    resolver = DependencyResolver(lambda value: [], lambda value: "seen" if isinstance(value, Future) else value)
    never: Future[int] = Future()
    assert pool.options(dependency_resolver=resolver).submit(kinds, never, 1).result() == ["str", "int"]


@pytest.mark.parametrize(
    "resolver",
    [
        DependencyResolver(lambda value: 1 / 0, lambda value: value),  # type: ignore[arg-type, return-value]
        DependencyResolver(lambda value: [], lambda value: 1 / 0),
    ],
    ids=["gather", "unwrap"],
)
def test_one_that_raises_fails_the_task(pool: ParslPoolExecutor, resolver: DependencyResolver) -> None:
    assert isinstance(pool.options(dependency_resolver=resolver).submit(abs, -1).exception(), ZeroDivisionError)
    assert pool.submit(abs, -1).result() == 1


def test_one_that_gathers_nonsense(pool: ParslPoolExecutor) -> None:
    resolver = DependencyResolver(lambda value: [5], lambda value: value)  # type: ignore[list-item]  # that is the point
    error = pool.options(dependency_resolver=resolver).submit(abs, -1).exception()
    assert isinstance(error, TypeError) and "traverse_to_gather must give futures, and gave 5" in str(error)


def test_for_all_calls_of_a_pool() -> None:
    with ParslPoolExecutor(Config([ThreadPoolExecutor()], dependency_resolver=SHALLOW_DEPENDENCY_RESOLVER)) as pool:
        one = pool.submit(abs, -1)
        assert pool.submit(inside, Box(one)).result() is one
        joined: Any = pool.options(join=True).submit(lambda value: pool.submit(abs, value), one)
        assert joined.result() == 1
