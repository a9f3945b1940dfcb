import asyncio
import gc
import threading
import weakref
from collections.abc import Callable
from concurrent.futures import (
    ALL_COMPLETED,
    FIRST_COMPLETED,
    FIRST_EXCEPTION,
    CancelledError,
    Future,
    as_completed,
    wait,
)
from concurrent.futures import TimeoutError as FuturesTimeoutError
from pickle import dumps
from typing import Any

import pytest

from parsl_pool.errors import DeserializationError, InternalError
from parsl_pool.futures import AppFuture, Failure, FutureInArguments
from parsl_pool.futures import app_future as futures_module
from parsl_pool.interchange import envelope, wire
from tests.client.bursts import Client


def failed_with(client: Client, future: AppFuture[Any], error: BaseException) -> None:
    client.frame([future._tid], wire.RAISED, envelope.dump_exception(error))


def done_future(value: Any) -> Future[Any]:
    future: Future[Any] = Future()
    future.set_result(value)
    return future


# ---- results


def test_a_burst_ends_futures_that_nobody_watches_without_a_lock_each() -> None:
    client = Client()
    futures = client.futures(5)
    client.burst(futures, [1, 2])
    assert [future.result() for future in futures] == [[1, 2]] * 5
    assert all(future._cond is None for future in futures)


def test_a_result_is_opened_once_and_by_who_asks() -> None:
    client = Client()
    future = client.future()
    client.burst([future], Remembers())
    assert not Remembers.opened_in
    assert future.done()
    first = future.result()
    assert future.result() is first
    assert [thread.name for thread in Remembers.opened_in] == [threading.current_thread().name]
    Remembers.opened_in.clear()


class Remembers:
    opened_in: list[threading.Thread] = []

    def __setstate__(self, state: Any) -> None:
        Remembers.opened_in.append(threading.current_thread())

    def __getstate__(self) -> Any:
        return True


def test_an_error_is_raised_each_time_it_is_asked_for() -> None:
    client = Client()
    future = client.future()
    failed_with(client, future, KeyError("why"))
    for _ in range(2):
        with pytest.raises(KeyError, match="why"):
            future.result()
    assert isinstance(future.exception(), KeyError)
    assert client.tries.failed == 1


def test_asking_for_an_error_leaves_no_cycle_behind() -> None:
    """An exception holds its traceback, that its frames, these their variables: must not hold the exception."""
    client = Client()
    gc.collect()
    gc.disable()
    try:
        future = client.future()
        failed_with(client, future, Watched("why"))
        try:
            future.result()
        except Watched as error:
            watched = weakref.ref(error)
        del future
        assert watched() is None
    finally:
        gc.enable()


class Watched(Exception):
    """Takes weak references, as built-in exceptions do not."""


@pytest.mark.parametrize("problem", [ValueError("why"), SystemExit(3)], ids=repr)
def test_a_result_that_cannot_be_opened_is_an_error(problem: BaseException) -> None:
    client = Client()
    future = client.future()
    Bomb.problem = problem
    client.burst([future], Bomb())
    with pytest.raises(DeserializationError, match="can't be rebuilt"):
        future.result()
    assert isinstance(future.exception(), DeserializationError)


def test_ctrl_c_while_a_result_is_opened_is_not_the_result() -> None:
    client = Client()
    future = client.future()
    client.burst([future], Bomb())
    Bomb.problem = KeyboardInterrupt()
    with pytest.raises(KeyboardInterrupt):
        future.result()
    Bomb.problem = None
    assert isinstance(future.result(), Bomb)


class Bomb:
    problem: BaseException | None

    def __setstate__(self, state: Any) -> None:
        if self.problem is not None:
            raise self.problem

    def __getstate__(self) -> Any:
        return True


@pytest.mark.parametrize("ask", [AppFuture.result, AppFuture.exception])
def test_waiting_has_an_end(ask: Callable[..., Any]) -> None:
    future = Client().future()
    for seconds in (0, 0.01, -1):
        with pytest.raises(FuturesTimeoutError):
            ask(future, timeout=seconds)
    future.cancel()
    with pytest.raises(CancelledError):
        ask(future, timeout=0)


def test_a_cancelled_future_stays_so_when_its_result_comes() -> None:
    client = Client()
    future, other = client.futures(2)
    assert future.cancel() and future.cancel()
    client.burst([future, other])
    assert future.cancelled() and other.result() == "value" and client.tries.late == 1


def test_what_the_worker_has_skipped_is_cancelled() -> None:
    client = Client()
    future = client.future()
    client.frame([future._tid], wire.CANCELLED, b"")
    assert future.cancelled() and future.done() and not future.running()
    with pytest.raises(CancelledError):
        future.result()


def test_a_future_that_is_over_cannot_be_cancelled() -> None:
    client = Client()
    future = client.future()
    client.burst([future])
    assert not future.cancel() and not future.kill()
    assert future.result() == "value"


def test_killing_cancels_what_has_not_begun_and_stops_what_has() -> None:
    client = Client()
    waiting, running = client.futures(2)
    assert waiting.kill() and waiting.cancelled() and not client.killed
    client.tries.table.pop(running._tid)  # too late to cancel
    assert running.kill() and client.killed == [running]


def test_a_future_cannot_be_pickled() -> None:
    with pytest.raises(FutureInArguments, match="it is awaited"):
        dumps(Client().future())


def test_setting_no_exception_is_a_bug() -> None:
    with pytest.raises(InternalError):
        AppFuture[Any]().set_exception(None)


def test_it_shows_its_state() -> None:
    client = Client()
    pending, cancelled, unopened, opened, failed = client.futures(5)
    cancelled.cancel()
    client.burst([unopened, opened], 5)
    opened.result()
    failed.finish(Failure(KeyError("why")))
    texts = [repr(future).rpartition("state=")[2] for future in (pending, cancelled, unopened, opened, failed)]
    assert texts == ["pending>", "cancelled>", "finished>", "finished returned int>", "finished raised KeyError>"]
    assert "task 1 " in repr(pending)


# ---- the standard library's ways of waiting


def test_wait_sees_what_was_over_before_and_what_ends_later() -> None:
    client = Client()
    before, later, cancelled, never = client.futures(4)
    client.burst([before])

    def end() -> None:
        client.burst([later])
        cancelled.cancel()

    thread = threading.Timer(0.02, end)
    thread.start()
    done, not_done = wait([before, later, cancelled])
    assert (done, not_done) == ({before, later, cancelled}, set())
    assert wait([before, never], timeout=0.01) == ({before}, {never})
    thread.join()


@pytest.mark.parametrize("until", [FIRST_COMPLETED, FIRST_EXCEPTION, ALL_COMPLETED])
@pytest.mark.parametrize("already", [True, False])
def test_wait_returns_when_it_should(until: str, already: bool) -> None:
    """FIRST_EXCEPTION is a little blind for results that nobody has opened: only for those before the wait."""
    client = Client()
    fine, failing, last = client.futures(3)

    def end() -> None:
        client.burst([fine])
        if until != FIRST_COMPLETED:
            failed_with(client, failing, KeyError("why"))
        if until == ALL_COMPLETED:
            client.burst([last])

    thread = threading.Timer(0 if already else 0.02, end)
    thread.start()
    if already:
        thread.join()
    done, not_done = wait([fine, failing, last], timeout=10, return_when=until)
    expected = {FIRST_COMPLETED: {fine}, FIRST_EXCEPTION: {fine, failing}, ALL_COMPLETED: {fine, failing, last}}
    assert done == expected[until] and not_done == {fine, failing, last} - done
    thread.join()


def test_as_completed_gives_each_once_as_it_ends() -> None:
    client = Client()
    futures: Any = client.futures(6)
    client.burst(futures[:2])
    futures[2].cancel()
    iterator = as_completed(futures, timeout=10)
    assert {next(iterator) for _ in range(3)} == set(futures[:3])
    client.burst(futures[4:5])
    assert next(iterator) is futures[4]
    client.burst([futures[5], futures[3]])
    assert set(iterator) == {futures[3], futures[5]}
    with pytest.raises(FuturesTimeoutError):
        list(as_completed(futures[:0] + client.futures(1), timeout=0))


def test_mixtures_with_other_executors_futures_work() -> None:
    client = Client()
    ours, cancelled = client.futures(2)
    plain: Future[Any] = Future()
    everything = [ours, plain, done_future(1), cancelled]

    def end() -> None:
        client.burst([ours])
        plain.set_result(2)
        cancelled.cancel()

    threading.Timer(0.02, end).start()
    assert set(as_completed(everything, timeout=10)) == set(everything)
    assert wait(everything, timeout=10).done == set(everything)


def test_asyncio_can_await_it() -> None:
    client = Client()
    fine, failing, cancelled, before = client.futures(4)
    client.burst([before], "before")

    async def main() -> list[Any]:
        awaited = [asyncio.wrap_future(future) for future in (fine, failing, cancelled, before)]
        threading.Timer(0.01, end).start()
        return await asyncio.gather(*awaited, return_exceptions=True)

    def end() -> None:
        client.burst([fine])
        failed_with(client, failing, KeyError("why"))
        cancelled.cancel()

    value, error, cancellation, early = asyncio.run(main())
    assert (value, early) == ("value", "before")
    assert isinstance(error, KeyError) and isinstance(cancellation, asyncio.CancelledError)


def test_cancelling_in_asyncio_cancels_the_task() -> None:
    client = Client()
    future = client.future()

    async def main() -> None:
        awaited = asyncio.wrap_future(future)
        await asyncio.sleep(0)
        awaited.cancel()
        await asyncio.sleep(0)

    asyncio.run(main())
    assert future.cancelled() and not client.tries.table


# ---- user code that runs at odd moments


def in_thread(call: Callable[[], Any]) -> bool:
    """True if the call comes back. A thread that is stuck for ever is left behind: this has failed."""
    thread = threading.Thread(target=call, daemon=True)
    thread.start()
    thread.join(5)
    return not thread.is_alive()


@pytest.fixture
def own_lock(monkeypatch: pytest.MonkeyPatch) -> None:
    """What gets stuck in one test must not stop all others."""
    is_plain = isinstance(futures_module._BURST, type(threading.Lock()))
    monkeypatch.setattr(futures_module, "_BURST", threading.Lock() if is_plain else threading.RLock())


def test_user_code_at_the_end_of_a_dropped_future_may_use_other_futures(own_lock: None) -> None:
    """The program has let go of a future, so it ends with the burst; a finalizer of its own runs then."""
    client = Client()
    others = client.futures(2)
    called: list[int] = []
    for other in others:
        dropped = client.future()
        weakref.finalize(dropped, other.add_done_callback, lambda _: called.append(1))
    ids = [dropped._tid, *[future._tid for future in others]]
    del dropped
    assert in_thread(lambda: client.frame(ids, wire.OK, dumps(1))), "stuck"
    assert in_thread(lambda: [future.result() for future in others]), "stuck"
    assert called


def test_user_code_at_the_end_of_a_result_may_use_other_futures(own_lock: None) -> None:
    """Two threads open one result: one of the two objects is dropped at once, and its finalizer runs."""
    client = Client()
    future, other = client.futures(2)
    client.burst([future], Slow())
    Slow.other = other
    Slow.barrier = threading.Barrier(2)
    results: list[Any] = []
    both = [threading.Thread(target=lambda: results.append(future.result()), daemon=True) for _ in range(2)]
    for thread in both:
        thread.start()
    for thread in both:
        thread.join(5)
    assert len(results) == 2, "stuck"
    assert results[0] is results[1]
    Slow.other = None


class Slow:
    """Opened by two threads at the same time; uses a future when it ends."""

    other: AppFuture[Any] | None = None
    barrier: threading.Barrier | None = None

    def __setstate__(self, state: Any) -> None:
        assert self.barrier is not None
        self.barrier.wait(5)

    def __getstate__(self) -> Any:
        return True

    def __del__(self) -> None:
        if Slow.other is not None:
            Slow.other.add_done_callback(lambda _: None)


def test_a_callback_may_wait_for_another_future_of_the_same_burst() -> None:
    client = Client()
    one, other = client.futures(2)
    got: list[Any] = []
    one.add_done_callback(lambda _: got.append(other.result(timeout=5)))
    client.burst([one, other])
    assert got == ["value"]


@pytest.mark.parametrize("error", [ValueError("why"), SystemExit(3), KeyboardInterrupt()], ids=repr)
def test_a_callback_that_raises_harms_nobody_else(error: BaseException, caplog: pytest.LogCaptureFixture) -> None:
    client = Client()
    one, other = client.futures(2)
    called: list[Any] = []

    def fail(_: Any) -> None:
        raise error

    one.add_done_callback(fail)
    one.add_done_callback(called.append)
    other.add_done_callback(called.append)
    client.burst([one, other])
    assert called == [one, other] and "exception calling callback" in caplog.text
