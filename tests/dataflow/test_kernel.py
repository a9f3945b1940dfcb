import gc
import threading
import weakref
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from pickle import dumps, loads
from typing import Any

import pytest

from parsl_pool.dataflow.kernel import Kernel
from parsl_pool.errors import DependencyError, SerializationError
from parsl_pool.futures import AppFuture, Failure, Value
from tests.eventually import eventually


class Backend:
    """Where tasks go: keeps what it is given, until the test ends it."""

    wants_payloads = True

    def __init__(self) -> None:
        self.launched: list[tuple[AppFuture[Any], Any, list[Any]]] = []

    def launch(self, future: AppFuture[Any], arguments: Any, results: list[Any]) -> None:
        future._owner = None
        self.launched.append((future, arguments, results))

    def name_of(self, future: AppFuture[Any]) -> str:
        return "fit"

    @property
    def futures(self) -> list[AppFuture[Any]]:
        return [future for future, _, _ in self.launched]


class BrokenBackend(Backend):
    def launch(self, future: AppFuture[Any], arguments: Any, results: list[Any]) -> None:
        raise RuntimeError("the pool has ended")


@pytest.fixture
def kernel() -> Iterator[Kernel]:
    kernel = Kernel()
    yield kernel
    kernel.close()


@pytest.fixture
def backend() -> Backend:
    return Backend()


class Tasks:
    """Futures of tasks that wait in a kernel."""

    def __init__(self, kernel: Kernel, backend: Backend) -> None:
        self.kernel, self.backend = kernel, backend
        self.count = 0

    def __call__(self, *needed: Future[Any]) -> AppFuture[Any]:
        future: AppFuture[Any] = AppFuture()
        self.count += 1
        future._tid = self.count
        self.kernel.submit(future, b"arguments", list(needed), self.backend)
        return future


@pytest.fixture
def task(kernel: Kernel, backend: Backend) -> Tasks:
    return Tasks(kernel, backend)


def root() -> AppFuture[Any]:
    future: AppFuture[Any] = AppFuture()
    future._tid = 1000
    return future


def end(future: AppFuture[Any], value: Any = "value") -> None:
    """As it comes from a worker."""
    future.finish(dumps(value))


# ---- waiting


def test_a_task_is_launched_with_the_bytes_that_came(kernel: Kernel, backend: Backend, task: Tasks) -> None:
    one, other = root(), root()
    waiting = task(one, other, one)
    end(one, 1)
    assert not backend.launched and kernel.is_waiting()
    end(other, 2)
    ((future, arguments, results),) = backend.launched
    assert future is waiting and arguments == b"arguments"
    assert [loads(result) for result in results] == [1, 2, 1]
    assert not kernel.is_waiting() and len(kernel) == 0


def test_results_that_are_there_already_do_not_delay_it(backend: Backend, task: Tasks) -> None:
    done = root()
    end(done)
    waiting = task(done, done)
    assert backend.futures == [waiting]


def test_what_was_opened_or_came_from_others_is_pickled_by_a_helper(backend: Backend, task: Tasks) -> None:
    opened, plain = root(), Future[Any]()
    opened.finish(Value([1]))
    plain.set_result({"a": 2})
    task(opened, plain)
    eventually(lambda: backend.launched)
    assert [loads(result) for result in backend.launched[0][2]] == [[1], {"a": 2}]


def test_a_backend_that_does_not_pickle_gets_the_futures(backend: Backend, task: Tasks) -> None:
    backend.wants_payloads = False
    needed = root()
    task(needed)
    end(needed)
    assert backend.launched[0][2] == [needed]


def test_a_result_that_cannot_be_pickled_fails_who_needs_it(task: Tasks) -> None:
    plain = Future[Any]()
    waiting = task(plain)
    plain.set_result(threading.Lock())
    with pytest.raises(SerializationError, match="a result that another task needs"):
        waiting.result(5)


def test_a_backend_that_has_ended_fails_the_task(kernel: Kernel) -> None:
    needed = root()
    waiting = Tasks(kernel, BrokenBackend())(needed)
    end(needed)
    with pytest.raises(RuntimeError, match="the pool has ended"):
        waiting.result(0)
    assert not kernel.is_waiting()


# ---- failures


def fails(future: Future[Any]) -> None:
    future.finish(Failure(KeyError("why"))) if isinstance(future, AppFuture) else future.set_exception(KeyError("why"))


def is_cancelled(future: Future[Any]) -> None:
    future.cancel()
    if not isinstance(future, AppFuture):
        future.set_running_or_notify_cancel()


@pytest.mark.parametrize("kind", [root, Future], ids=["ours", "plain"])
@pytest.mark.parametrize("how", [fails, is_cancelled])
def test_a_dependency_that_fails_fails_its_dependents(
    kind: Callable[[], Future[Any]], how: Callable[[Future[Any]], None], backend: Backend, task: Tasks
) -> None:
    needed, other = kind(), root()
    waiting = task(needed, other)
    how(needed)
    assert not waiting.done()
    end(other)
    error = waiting.exception(0)
    assert isinstance(error, DependencyError) and not backend.launched
    assert isinstance(error.__cause__, type(needed.exception(0)) if not needed.cancelled() else BaseException)
    assert error.root_cause is error.__cause__ and f"task {waiting.tid}" in str(error)


def test_all_dependencies_that_failed_are_told(task: Tasks) -> None:
    needed = [root() for _ in range(4)]
    waiting = task(*needed)
    for place, future in enumerate(needed):
        fails(future) if place % 2 else end(future)
    error = waiting.exception(0)
    assert isinstance(error, DependencyError) and len(error.dependent_exceptions_tids) == 2


def test_the_error_names_the_way_to_the_first_failure(task: Tasks) -> None:
    first = root()
    second = task(first)
    third = task(second)
    fails(first)
    error = third.exception(0)
    assert isinstance(error, DependencyError) and isinstance(error.root_cause, KeyError)
    assert "task 2 (fit) did not run: it needs task 1 (fit), which needs task 1000, which failed with" in str(error)


@pytest.mark.parametrize("how", [fails, is_cancelled])
def test_a_failure_at_the_start_of_a_very_long_chain_reaches_its_end(
    how: Callable[[Future[Any]], None], kernel: Kernel, task: Tasks
) -> None:
    """A simulation's steps, each of which needs the one before."""
    first: AppFuture[Any] = root()
    chain = [first]
    for _ in range(3000):
        chain.append(task(chain[-1]))
    how(first)
    assert [future for future in chain if not future.done()] == []
    assert not kernel.is_waiting()
    assert isinstance(chain[-1].exception(0), DependencyError)
    assert isinstance(chain[1].exception(0), DependencyError)


def test_a_callback_may_wait_for_what_fails_next(task: Tasks) -> None:
    """It runs in the thread that is about to end that."""
    first = root()
    second = task(first)
    third = task(second)
    fourth = task(third)
    errors: list[Any] = []
    second.add_done_callback(lambda _: errors.append(fourth.exception(5)))
    fails(first)
    assert isinstance(errors[0], DependencyError)


# ---- cancelling


def test_a_waiting_task_can_be_cancelled(kernel: Kernel, backend: Backend, task: Tasks) -> None:
    needed = root()
    waiting = task(needed)
    assert not waiting.running() and waiting.cancel() and waiting.cancelled()
    assert not kernel.is_waiting()
    end(needed)
    assert not backend.launched


def test_cancelling_a_task_fails_those_that_need_it(task: Tasks) -> None:
    first = task(root())
    second = task(first)
    assert first.cancel()
    assert isinstance(second.exception(0), DependencyError)


def test_all_waiting_tasks_can_be_cancelled(kernel: Kernel, task: Tasks) -> None:
    first = task(root())
    waiting = [first, task(root()), task(first)]
    kernel.cancel_all()
    assert all(future.done() for future in waiting) and not kernel.is_waiting()


def test_a_cancelled_tasks_object_may_be_used_for_another(kernel: Kernel, backend: Backend) -> None:
    """Its place in memory is: the new one's number is the old one's, and it must not be taken for it."""
    slow, other = root(), root()
    future: AppFuture[Any] = AppFuture()
    kernel.submit(future, b"old", [slow], backend)
    assert future.cancel()
    future.__init__()  # type: ignore[misc]  # another object in the same place
    kernel.submit(future, b"new", [other], backend)
    end(slow)
    assert not backend.launched
    end(other)
    assert [arguments for _, arguments, _ in backend.launched] == [b"new"]


def test_a_dependency_in_the_place_of_one_that_was_dropped_is_another(kernel: Kernel, backend: Backend) -> None:
    needed = Future[Any]()
    future: AppFuture[Any] = AppFuture()
    kernel.submit(future, b"old", [needed], backend)
    future.cancel()
    needed.__init__()  # type: ignore[misc]  # another object in the same place
    waiting: AppFuture[Any] = AppFuture()
    kernel.submit(waiting, b"new", [needed], backend)
    needed.set_result(1)
    eventually(lambda: [arguments for _, arguments, _ in backend.launched] == [b"new"])


# ---- the rest


def test_nothing_is_kept_of_a_task_that_has_gone(kernel: Kernel, backend: Backend, task: Tasks) -> None:
    needed, cancelled = root(), root()
    futures = [task(needed), task(cancelled)]
    watched = [weakref.ref(future) for future in futures]
    futures[1].cancel()
    end(needed)
    backend.launched.clear()
    del futures
    gc.collect()
    assert [ref() for ref in watched] == [None, None]


def test_what_waits_is_explained(kernel: Kernel, task: Tasks) -> None:
    needed, done = root(), root()
    end(done)
    task(needed, done)
    (line,) = kernel.explain()
    assert line == "task 1 (fit) waits for 1 of its dependencies: task 1000"


def test_a_task_that_waits_for_many_says_how_many_it_does_not_name(kernel: Kernel, task: Tasks) -> None:
    task(*[root() for _ in range(6)])
    (line,) = kernel.explain()
    assert line.startswith("task 1 (fit) waits for 6 of its dependencies: ") and line.endswith("task 1000 and 3 more")


def test_many_threads_submit_and_settle_at_once(kernel: Kernel, backend: Backend, task: Tasks) -> None:
    roots = [root() for _ in range(200)]
    waiting: list[AppFuture[Any]] = []

    def submit(step: int) -> None:
        for place in range(len(roots)):
            waiting.append(task(roots[place], roots[(place * step + 1) % len(roots)]))

    threads = [threading.Thread(target=submit, args=(step,)) for step in (1, 3, 7)]

    def end_all() -> None:
        for future in roots:
            end(future)

    threads.append(threading.Thread(target=end_all))
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(backend.launched) == 600 and {id(future) for future in backend.futures} == set(map(id, waiting))
    assert not kernel.is_waiting()


def test_a_future_that_was_cancelled_on_its_way_here_does_not_stay() -> None:
    kernel, backend = Kernel(), Backend()
    future: AppFuture[Any] = AppFuture()
    future.cancel()
    never: Future[Any] = Future()
    kernel.submit(future, None, [never], backend)
    assert not len(kernel)
    never.set_result(1)
    assert future.cancelled() and not backend.launched
