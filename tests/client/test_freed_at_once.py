"""What is dropped is freed by reference counting: no cycle keeps a large argument until the collector comes."""

import functools
import gc
import threading
import weakref
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from typing import Any

import pytest

from parsl_pool import AppFuture, Config, ParslPoolExecutor, ThreadPoolExecutor
from parsl_pool.errors import DependencyError, SerializationError
from tests.eventually import eventually


class Large:
    """Stands for an argument that one wants to be rid of."""


class Unsendable(Large):
    def __init__(self) -> None:
        self.lock = threading.Lock()


class FailsToPickle(Large):
    def __reduce__(self) -> Any:
        raise ValueError("not me")


@pytest.fixture(scope="module")
def pool() -> Iterator[ParslPoolExecutor]:
    with ParslPoolExecutor(1) as pool:
        pool.submit(abs, -1).result()
        yield pool


@pytest.fixture
def no_collector() -> Iterator[None]:
    gc.collect()
    gc.disable()
    yield
    gc.enable()


def is_freed(make: Callable[[], object]) -> bool:
    """Whether what `make` returns is gone soon after it has been dropped; "soon": by the pool's own thread."""
    dropped = weakref.ref(make())
    return bool(eventually(lambda: dropped() is None, within=5))


def fail(*_: object) -> None:
    raise ValueError("on purpose")


def looked_at(future: AppFuture[Any], expected: type[BaseException]) -> AppFuture[Any]:
    """The future, after somebody has looked. Not by result(): what raises puts the caller's frame into the error."""
    assert isinstance(future.exception(60), expected)
    assert expected.__name__ in repr(future)
    return future


@pytest.mark.usefixtures("no_collector")
class TestWithoutTheCollector:
    def test_a_failed_future_that_was_looked_at(self, pool: ParslPoolExecutor) -> None:
        assert is_freed(lambda: looked_at(pool.submit(fail), ValueError))

    def test_a_future_whose_result_nobody_can_rebuild(self, pool: ParslPoolExecutor) -> None:
        assert is_freed(lambda: looked_at(pool.submit(threading.Lock), SerializationError))

    @pytest.mark.parametrize("kind", [Unsendable, FailsToPickle])
    @pytest.mark.parametrize("place", ["argument", "keyword", "function", "list", "closure", "chunk"])
    def test_an_object_that_cannot_be_pickled(self, kind: type[Large], place: str, pool: ParslPoolExecutor) -> None:
        def submit() -> object:
            large = kind()
            calls: dict[str, Callable[[], Any]] = {
                "argument": lambda: pool.submit(fail, large),
                "keyword": lambda: pool.submit(fail, key=large),
                "function": lambda: pool.submit(functools.partial(fail, large)),
                "list": lambda: pool.submit(fail, [1, {"a": large}]),
                "closure": lambda: pool.submit(lambda: large),
                "chunk": lambda: pool.submit_chunk(fail, [(1,), (large,)]),
            }
            future = calls[place]()
            looked_at(future, SerializationError)
            return large

        assert is_freed(submit)

    def test_an_object_that_is_pickled_only_at_the_second_attempt(self, pool: ParslPoolExecutor) -> None:
        class Local(Large):  # by value: pickle fails, cloudpickle does not
            pass

        def submit() -> object:
            large = Local()
            assert pool.submit(functools.partial(len, [large])).result(60) == 1
            assert pool.submit(len, [large]).result(60) == 1
            return large

        assert is_freed(submit)

    def test_a_task_whose_dependency_failed(self, pool: ParslPoolExecutor) -> None:
        def submit() -> object:
            failed = pool.submit(fail)
            return looked_at(pool.submit(abs, pool.submit(abs, failed)), DependencyError)

        assert is_freed(submit)

    def test_a_task_whose_dependency_was_cancelled(self, pool: ParslPoolExecutor) -> None:
        def submit() -> object:
            cancelled: Future[int] = Future()
            waiting = pool.submit(abs, cancelled)
            cancelled.cancel()
            return looked_at(waiting, DependencyError)

        assert is_freed(submit)

    def test_a_task_whose_dependency_cannot_be_sent_on(self) -> None:
        pool = ParslPoolExecutor(1)

        def submit() -> object:
            large = Unsendable()
            needed: Future[Any] = Future()
            waiting = pool.submit(fail, needed)
            needed.set_result(large)
            looked_at(waiting, SerializationError)
            return large

        with pool:
            assert is_freed(submit)

    def test_a_task_that_failed_in_a_thread(self) -> None:
        with ParslPoolExecutor(Config([ThreadPoolExecutor(max_threads=1)])) as threads:
            assert is_freed(lambda: looked_at(threads.submit(fail), ValueError))


def test_the_error_of_a_failed_pickle_still_tells_where_it_was_raised(pool: ParslPoolExecutor) -> None:
    error = pool.submit(fail, FailsToPickle()).exception()
    assert isinstance(error, SerializationError)
    assert 'raise ValueError("not me")' in str(error.__cause__)
    behind = error.__cause__.__cause__ if error.__cause__ is not None else None
    assert isinstance(behind, ValueError) and behind.__traceback__ is None
