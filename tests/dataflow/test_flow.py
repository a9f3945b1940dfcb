"""Tasks of more than one step, through a real pool: retries that the user's code decides, and where they meet the
ends of pools."""

import threading
import time
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import Future, wait
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from parsl_pool import Config, HighThroughputExecutor, ParslPoolExecutor, ThreadPoolExecutor, id_for_memo
from parsl_pool.dataflow.flow import Flow
from parsl_pool.dataflow.record import FlowRecord
from parsl_pool.errors import DependencyError, WorkerLost
from tests.eventually import eventually

pytestmark = pytest.mark.timeout(60)


def fails_at_first(path: Path, times: int, items: Any = ()) -> int:
    """Fails so many times, then tells how often it was called."""
    with open(path, "a") as file:
        file.write("x")
    called = path.stat().st_size
    if isinstance(items, list):
        items.append(called)
    if called <= times:
        raise ValueError(f"call {called}, {len(items)} items")
    return called


def die(path: Path) -> int:
    import os

    with open(path, "a") as file:
        file.write("x")
    if path.stat().st_size < 3:
        os._exit(3)
    return 3


@pytest.fixture(params=["inside", "apart", "threads"])
def pool(request: pytest.FixtureRequest) -> Iterator[ParslPoolExecutor]:
    if request.param == "threads":
        with ParslPoolExecutor(Config([ThreadPoolExecutor()])) as pool:
            yield pool
    else:
        with ParslPoolExecutor(2, manager_inside=request.param == "inside") as pool:
            yield pool


def test_a_handler_decides_what_a_failure_costs(pool: ParslPoolExecutor, tmp_path: Path) -> None:
    seen: list[tuple[str, int]] = []

    def half(error: BaseException, record: FlowRecord) -> float:
        seen.append((str(error), record["fail_count"]))
        assert (record.func_name, record.try_id) == ("fails_at_first", len(seen))
        return 0.5

    view = pool.options(retries=2, retry_handler=half)
    assert view.submit(fails_at_first, tmp_path / "a", 4).result() == 5
    assert seen == [(f"call {n}, 0 items", n) for n in range(1, 5)]
    seen.clear()
    future = view.submit(fails_at_first, tmp_path / "b", 9)
    assert str(future.exception()) == "call 5, 0 items"
    assert [attempt.number for attempt in future.attempts] == list(range(5))
    assert future.task_status() == "failed"


def test_a_hopeless_error_is_not_tried_again(pool: ParslPoolExecutor, tmp_path: Path) -> None:
    future = pool.options(retries=9, retry_handler=lambda error, record: 100).submit(fails_at_first, tmp_path / "a", 4)
    assert str(future.exception()) == "call 1, 0 items" and len(future.attempts) == 1


@pytest.mark.parametrize(("answer", "text"), [("1", "returned '1'"), (None, "returned None"), (float("nan"), "nan")])
def test_a_handler_that_answers_nonsense(pool: ParslPoolExecutor, tmp_path: Path, answer: Any, text: str) -> None:
    future = pool.options(retries=9, retry_handler=lambda *_: answer).submit(fails_at_first, tmp_path / "a", 4)
    error = future.exception()
    assert isinstance(error, TypeError) and text in str(error) and "retry_handler" in str(error)


def test_a_handler_that_raises_ends_the_tries(pool: ParslPoolExecutor, tmp_path: Path) -> None:
    def handler(error: BaseException, record: FlowRecord) -> float:
        raise KeyError("handler")

    error = pool.options(retries=9, retry_handler=handler).submit(fails_at_first, tmp_path / "a", 4).exception()
    assert isinstance(error, KeyError)
    assert (tmp_path / "a").stat().st_size == 1


def test_a_handler_that_waits_for_the_pool(pool: ParslPoolExecutor, tmp_path: Path) -> None:
    """It does not run in the thread that brings results."""

    def handler(error: BaseException, record: FlowRecord) -> float:
        return float(pool.submit(abs, -1).result(20))

    assert pool.options(retries=2, retry_handler=handler).submit(fails_at_first, tmp_path / "a", 2).result(20) == 3


def test_what_a_handler_is_told(tmp_path: Path) -> None:
    left: list[tuple[int, float]] = []

    def handler(error: BaseException, record: FlowRecord) -> float:
        left.append((record["retries_left"], record["fail_cost"]))
        assert record["ignore_for_cache"] == ("items",) and record["memoize"]
        return 1.5

    with ParslPoolExecutor(1) as pool:
        view = pool.options(retries=3, retry_handler=handler, cache=True, ignore_for_cache=["items"])
        assert view.submit(fails_at_first, tmp_path / "a", 9).exception() is not None
    assert left == [(3, 0.0), (1, 1.5), (0, 3.0)]


def test_odd_costs(tmp_path: Path) -> None:
    with ParslPoolExecutor(Config([ThreadPoolExecutor()])) as pool:
        for cost in (float("inf"), float("-inf"), -7):
            view = pool.options(retries=3, retry_handler=lambda *_, cost=cost: cost)
            future = view.submit(fails_at_first, tmp_path / f"{cost}", 5)
            assert (future.exception() is not None) is (cost > 0)


@pytest.mark.parametrize("collects", [True, False])
def test_what_is_known_of_a_task_is_let_go_or_kept(tmp_path: Path, collects: bool) -> None:
    records: list[FlowRecord] = []
    with ParslPoolExecutor(Config([ThreadPoolExecutor()], garbage_collect=collects)) as pool:
        view = pool.options(retry_handler=lambda error, record: float(records.append(record) is None))  # type: ignore[func-returns-value]
        assert view.submit(int, "x").exception() is not None
    assert (records[0].func, records[0].args) == ((None, ()) if collects else (int, ("x",)))


@pytest.mark.parametrize("executor", [ThreadPoolExecutor, partial(HighThroughputExecutor, max_workers_per_node=1)])
def test_ctrl_c_in_a_submit_is_the_users(executor: Any) -> None:
    with ParslPoolExecutor(Config([executor()])) as pool:
        with pytest.raises(KeyboardInterrupt):
            pool.options(cache=True).submit(abs, Interrupts())
        assert not pool._flow().is_busy()
        assert pool.submit(abs, -1).result() == 1


class Interrupts:
    """As if Ctrl-C came while its key is made."""

@id_for_memo.register
def _(_: Interrupts, output_ref: bool = False) -> bytes:
    raise KeyboardInterrupt


def test_back_off_doubles(pool: ParslPoolExecutor, tmp_path: Path) -> None:
    future = pool.options(retries=3, retry_delay=0.1).submit(fails_at_first, tmp_path / "a", 3)
    assert future.result() == 4
    pauses = [b.began - a.ended for a, b in zip(future.attempts, future.attempts[1:])]
    assert pauses[0] >= 0.1 and pauses[1] >= 0.2


def test_each_try_has_the_arguments_of_the_submission(tmp_path: Path) -> None:
    items: list[int] = [7]
    with ParslPoolExecutor(1) as pool:
        future = pool.options(retries=2, retry_delay=0.01).submit(fails_at_first, tmp_path / "a", 2, items)
        items.append(8)
        assert future.result() == 3
    assert [attempt.error for attempt in future.attempts] == [f"ValueError: call {n}, 2 items" for n in (1, 2)]


def test_a_worker_that_dies_is_a_failure_for_the_handler(tmp_path: Path) -> None:
    seen: list[type] = []

    def handler(error: BaseException, record: FlowRecord) -> float:
        seen.append(type(error))
        return 0.1

    with ParslPoolExecutor(1) as pool:
        assert pool.options(retries=1, retry_handler=handler).submit(die, tmp_path / "a").result() == 3
    assert seen == [WorkerLost, WorkerLost]


def test_dependencies_of_a_task_of_several_steps(pool: ParslPoolExecutor, tmp_path: Path) -> None:
    view = pool.options(retries=3, retry_delay=0.01)
    first = view.submit(fails_at_first, tmp_path / "a", 1)
    second = view.submit(sum, [first, pool.submit(abs, -5)])
    assert second.result() == 7
    failed = view.submit(int, "x")
    above = view.submit(abs, failed)
    assert isinstance(above.exception(), DependencyError) and above.task_status() == "dep_fail"
    assert isinstance(above.exception().__cause__, ValueError)  # type: ignore[union-attr]  # it has one


def test_cancelling_between_two_tries(pool: ParslPoolExecutor, tmp_path: Path) -> None:
    future = pool.options(retries=3, retry_delay=60).submit(fails_at_first, tmp_path / "a", 9)
    eventually(lambda: future.attempts, within=20)
    assert future.cancel() and future.cancelled()
    assert not pool._flow().is_busy()


def test_a_shutdown_waits_for_further_tries(tmp_path: Path) -> None:
    with ParslPoolExecutor(1) as pool:
        future = pool.options(retries=3, retry_delay=0.05).submit(fails_at_first, tmp_path / "a", 3)
    assert future.done() and future.result() == 4


@pytest.mark.parametrize(
    "end", [lambda pool: pool.kill_workers(), lambda pool: pool.shutdown(cancel_futures=True)], ids=["kill", "cancel"]
)
def test_an_end_that_does_not_wait(tmp_path: Path, end: Callable[[ParslPoolExecutor], None]) -> None:
    pool = ParslPoolExecutor(1)
    view = pool.options(retries=100, retry_delay=0.01, retry_handler=lambda *_: 0)
    futures = [view.submit(fails_at_first, tmp_path / str(n), 1 << 30) for n in range(5)]
    eventually(lambda: futures[0].attempts, within=20)
    begun = time.monotonic()
    if end.__code__.co_names == ("shutdown",):
        # Those between two tries are cancelled, the one that runs may be tried once more: it is told again.
        while not all(future.done() for future in futures) and time.monotonic() < begun + 20:
            for future in futures:
                future.cancel()
    end(pool)
    assert not wait(futures, 20).not_done
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("parsl-pool")]


def test_what_cannot_be_pickled(tmp_path: Path) -> None:
    with ParslPoolExecutor(1) as pool:
        future = pool.options(retries=2, retry_delay=0.01).submit(abs, threading.Lock())
        assert "argument 1 of abs" in str(future.exception())
        assert pool.submit(abs, -1).result() == 1


def test_a_join_app_may_wait_again_before_the_kernel_has_let_go_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """First its future waits for its arguments, then for what it has returned: in two threads, close together."""
    launch = Flow.launch

    def slow_launch(flow: Flow, future: Any, arguments: Any, results: Any) -> None:
        launch(flow, future, arguments, results)
        time.sleep(0.2)  # meanwhile the join app has run, and its future waits again

    monkeypatch.setattr(Flow, "launch", slow_launch)
    never_yet: Future[int] = Future()
    with ParslPoolExecutor(Config([ThreadPoolExecutor()])) as pool:
        argument: Future[int] = Future()
        future: Any = pool.options(join=True).submit(lambda _: never_yet, argument)
        argument.set_result(1)
        eventually(lambda: future.task_status() == "joining")
        never_yet.set_result(7)
        assert future.result(10) == 7


def test_a_task_that_is_cancelled_while_its_handler_waits(tmp_path: Path) -> None:
    """The thread that ends the pool must not wait for a handler that waits for the pool."""
    begun, go = threading.Event(), threading.Event()

    def handler(error: BaseException, record: FlowRecord) -> float:
        begun.set()
        go.wait(20)
        return 0.0

    pool = ParslPoolExecutor(1)
    future = pool.options(retries=2, retry_handler=handler).submit(fails_at_first, tmp_path / "a", 5)
    assert begun.wait(20)
    pool.shutdown(wait=False)
    threading.Timer(0.5, go.set).start()
    assert future.cancel()
    pool.shutdown()


def test_failures_that_nobody_looked_at_are_told(tmp_path: Path) -> None:
    with pytest.warns(RuntimeWarning, match="2 tasks of pool .* failed, .*One of them was task .*call 2, 0 items"):
        with ParslPoolExecutor(1) as pool:
            view = pool.options(retries=1, retry_delay=0.01)
            futures = [view.submit(fails_at_first, tmp_path / str(n), 5) for n in range(3)]
            assert futures[0].exception() is not None
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with ParslPoolExecutor(1) as pool:
            failed = pool.options(retries=1, retry_delay=0.01).submit(int, "x")
            above = pool.options(retry_delay=0.01).submit(abs, failed)
            assert above.exception() is not None


def test_16_threads_submit_at_once(pool: ParslPoolExecutor) -> None:
    view = pool.options(retries=1, retry_delay=0.01)
    results: list[list[int]] = [[] for _ in range(16)]

    def submit(box: list[int]) -> None:
        first = [view.submit(abs, -number) for number in range(20)]
        box += [view.submit(sum, [future, 1]).result(30) for future in first]

    threads = [threading.Thread(target=submit, args=(box,)) for box in results]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [list(range(1, 21))] * 16
    assert not pool._flow().is_busy()


ENDS: dict[str, Callable[[Future[Any], Future[Any]], object]] = {
    "it fails": lambda needed, waiting: needed.set_exception(ValueError()),
    "it is cancelled": lambda needed, waiting: needed.cancel() and needed.set_running_or_notify_cancel(),
    "the task is": lambda needed, waiting: waiting.cancel(),
}


@pytest.mark.parametrize("end", ENDS)
def test_a_shutdown_ends_when_what_a_task_waits_for_does_not_come(pool: ParslPoolExecutor, end: str) -> None:
    """Nobody is launched then, and no result comes that would have the pool look again."""
    assert pool.submit(abs, -1).result() == 1
    needed: Future[int] = Future()
    waiting = pool.submit(abs, needed)
    shutdown = threading.Thread(target=pool.shutdown)
    shutdown.start()
    eventually(lambda: pool._shutdown_thread)
    time.sleep(0.2)  # so that it sleeps; without it the test would ask less, and pass
    ENDS[end](needed, waiting)
    shutdown.join(20)
    assert not shutdown.is_alive() and waiting.done()
