"""`@join_app`."""

import pickle
import sys
import threading
from concurrent.futures import Future, wait
from itertools import count
from pathlib import Path
from typing import Any

import pytest

import parsl_pool
from parsl_pool import Config, File, ParslPoolExecutor, ThreadPoolExecutor, join_app, python_app
from parsl_pool.errors import ConfigurationError, DependencyCycle, DependencyError, JoinError, MissingOutputs

pytestmark = pytest.mark.timeout(90)


@python_app
def add(*numbers: int) -> int:
    return sum(numbers)


@python_app
def divide(a: int, b: int) -> float:
    return a / b


@join_app
def fibonacci(n: int) -> "Future[int]":
    return add(1) if n <= 2 else add(fibonacci(n - 1), fibonacci(n - 2))


@join_app
def down(depth: int) -> Any:
    return add(7) if depth == 0 else down(depth - 1)


@join_app
def returns(thing: Any) -> Any:
    return thing()


def test_recursion(pool: ParslPoolExecutor) -> None:
    assert fibonacci(10).result() == 55


def test_a_join_inside_a_join_a_thousand_deep(pool: ParslPoolExecutor) -> None:
    assert sys.getrecursionlimit() <= 1000
    before = threading.active_count()
    assert down(1000).result() == 7
    assert threading.active_count() <= before + 14  # ten helpers, two that run tasks, the kernel's and the timer


def calls_for_a_nest(depth: int) -> int:
    """How many Python functions are called, in all threads, for joins inside of one another."""
    seen = count()

    def see(_: object, event: str, __: object) -> None:
        if event == "call":
            next(seen)

    before = sys.getprofile()
    threading.setprofile(see)  # of the pool's threads, which are new ones
    sys.setprofile(see)
    try:
        with parsl_pool.load(Config([ThreadPoolExecutor()], run_dir=None)):
            assert down(depth).result() == 7
    finally:
        sys.setprofile(before)
        threading.setprofile(None)
        parsl_pool.clear()
    return next(seen)


def test_a_deeper_nest_costs_no_more_for_each_join() -> None:
    calls_for_a_nest(1)  # what is loaded by the first one
    few, many = calls_for_a_nest(150), calls_for_a_nest(1200)
    assert few / 150 > 20 and many / 1200 < 1.5 * few / 150, (few, many)


def test_what_may_be_returned(pool: ParslPoolExecutor) -> None:
    foreign: Future[str] = Future()
    one = returns(lambda: add(1, 2))
    several = returns(lambda: [add(1), add(2)])
    nest = returns(lambda: {"a": (add(1), [foreign]), "b": "plain"})
    nothing = returns(lambda: [])
    joined_foreign = returns(lambda: foreign)
    assert (one.result(), several.result(), nothing.result()) == (3, [1, 2], [])
    assert wait([nest, joined_foreign], 0.3).not_done == {nest, joined_foreign}
    assert nest.task_status() == "joining"
    foreign.set_result("came")
    assert nest.result() == {"a": (1, ["came"]), "b": "plain"}
    assert joined_foreign.result() == "came"


@pytest.mark.parametrize("value", [5, None, [1, 2], "text", {"a": 1}])
def test_no_future_is_a_clear_error(pool: ParslPoolExecutor, value: Any) -> None:
    error = returns(lambda: value).exception()
    assert isinstance(error, TypeError)
    assert str(error) == (
        f"the join app returns must return a future, or a container with futures in it, and returned {value!r}"
    )


def test_a_failure_of_what_is_joined(pool: ParslPoolExecutor) -> None:
    future = returns(lambda: [divide(1, 0), divide(2, 1), divide(3, 0)])
    error = future.exception()
    assert isinstance(error, JoinError) and not isinstance(error, DependencyError)
    assert isinstance(error.root_cause, ZeroDivisionError) and error.__cause__ is error.root_cause
    assert len(error.dependent_exceptions_tids) == 2
    assert "has no result: it joined task" in str(error) and "ZeroDivisionError: division by zero" in str(error)
    assert (future.reason, future.culprit) == ("join", "task")
    above = add(future).exception()
    assert isinstance(above, DependencyError) and isinstance(above.root_cause, ZeroDivisionError)
    assert "which joined task" in str(above)


def test_a_failure_of_its_own_and_of_its_arguments(pool: ParslPoolExecutor) -> None:
    assert isinstance(returns(lambda: 1 / 0).exception(), ZeroDivisionError)
    assert isinstance(fibonacci(divide(1, 0)).exception(), DependencyError)  # type: ignore[arg-type]  # it fails


def test_its_own_future_is_refused(pool: ParslPoolExecutor) -> None:
    box: list[Any] = []
    ready = threading.Event()

    def own() -> Any:
        ready.wait(20)
        return box

    future = returns(own)
    box.append(future)
    ready.set()
    assert "has returned its own future" in str(future.exception(20))


def later(box: dict[str, Any], name: str) -> Any:
    """A join app's future, of what will be in the box."""
    ready = threading.Event()
    box[f"{name} is there"] = ready

    def wait_for_it() -> Any:
        ready.wait(20)
        return [box[name]]

    return returns(wait_for_it)


def test_a_join_that_waits_for_itself_is_found(pool: ParslPoolExecutor) -> None:
    box: dict[str, Any] = {}
    first, second = later(box, "first"), later(box, "second")
    box["first"], box["second"] = second, add(first["part"], 1)
    apart = later(box, "apart")
    never: Future[int] = Future()
    box["apart"] = never
    for name in ("first", "second", "apart"):
        box[f"{name} is there"].set()
    errors = [future.exception(20) for future in (first, second)]
    found = next(error for error in errors if isinstance(error, DependencyCycle))
    begun = str(found.path[0])
    assert str(found) == f"{begun} would never end: it waits for {', which waits for '.join([*found.path[1:], begun])}"
    assert len(found.path) == 4 and "(returns)" in begun and any("(add)" in name for name in found.path)
    assert str(pickle.loads(pickle.dumps(found))) == str(found)
    assert all(error is found or getattr(error, "root_cause", None) is found for error in errors)
    assert not apart.done() and apart.cancel()
    assert not pool._flow().is_busy()


def test_a_join_that_makes_the_same_call_again(pool: ParslPoolExecutor) -> None:
    """A call that is under way is not made twice: this one would wait for itself."""
    PRESENT["view"] = pool.options(join=True, cache=True)
    try:
        assert isinstance(PRESENT["view"].submit(again).exception(20), DependencyCycle)
    finally:
        PRESENT.clear()


PRESENT: dict[str, Any] = {}


def again() -> Any:
    return PRESENT["view"].submit(again)


def test_its_outputs_are_looked_for(pool: ParslPoolExecutor, tmp_path: Path) -> None:
    there, missing = File(tmp_path / "there"), File(tmp_path / "missing")
    (tmp_path / "there").touch()
    future = returns(lambda: add(1), outputs=[there])
    assert (future.result(), future.outputs[0].result()) == (1, there)
    error = returns(lambda: add(1), outputs=[there, missing]).exception()
    assert isinstance(error, MissingOutputs) and str(tmp_path / "missing") in str(error)
    assert isinstance(returns(lambda: [], outputs=[missing]).exception(), MissingOutputs)


@join_app
def passes_on(walltime: float) -> Any:
    return add(int(walltime), walltime=walltime)


def test_a_walltime_is_refused_where_it_would_do_nothing(pool: ParslPoolExecutor) -> None:
    text = "walltime must be None for a join, which runs in this process .*, got 3: give it to the calls"
    with pytest.raises(ConfigurationError, match=text):
        returns(lambda: add(1), walltime=3)
    with pytest.raises(ConfigurationError, match=text):
        pool.options(walltime=3).options(join=True)
    assert passes_on(walltime=7).result() == 7


def test_while_it_waits_it_can_be_cancelled(pool: ParslPoolExecutor) -> None:
    never: Future[None] = Future()
    future = returns(lambda: never)
    while future.task_status() != "joining":
        pass
    assert future.cancel() and future.cancelled() and future.task_status() == "cancelled"


def test_a_pool_that_is_shut_down_waits_for_what_joins_submit() -> None:
    with ParslPoolExecutor(2) as pool:
        view = pool.options(join=True)

        def chain(depth: int) -> Any:
            return pool.submit(abs, -5) if depth == 0 else view.submit(chain, depth - 1)

        future = view.submit(chain, 30)
    assert future.done() and future.result() == 5


def test_retries_of_a_join(pool: ParslPoolExecutor) -> None:
    calls: list[int] = []

    def third_time() -> Any:
        calls.append(1)
        if len(calls) < 3:
            raise ValueError(len(calls))
        return pool.submit(abs, -1)

    future = pool.options(join=True, retries=2).submit(third_time)
    assert future.result() == 1
    assert [attempt.error for attempt in future.attempts] == ["ValueError(1)", "ValueError(2)"]
