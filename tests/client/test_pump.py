"""Who turns: lone calls are led by their callers, whatever breaks in on them; all else is the I/O thread's."""

import dis
import operator
import random
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, as_completed, wait
from concurrent.futures import TimeoutError as FuturesTimeoutError
from contextlib import contextmanager
from functools import partial
from types import FrameType
from typing import Any

import pytest

from parsl_pool import ParslPoolExecutor
from parsl_pool.executors.high_throughput import pump as pump_module
from parsl_pool.executors.high_throughput.link import Link
from tests import leaks
from tests.eventually import eventually

pytestmark = pytest.mark.timeout(120, method="thread")  # the alarm clock is ours


class Alarm(Exception):
    """What the tests' signal handlers raise."""


@pytest.fixture(scope="module")
def pool() -> Iterator[ParslPoolExecutor]:
    with leaks.keeping("the module's pool"), ParslPoolExecutor(2, manager_inside=True) as pool:
        yield pool


@pytest.fixture
def link(pool: ParslPoolExecutor) -> Link:
    link: Link = pool._backend.link
    return link


def get_led(pool: ParslPoolExecutor) -> None:
    """Call one by one until the I/O thread naps, so that the next call is led."""
    link = pool._backend.link

    def naps() -> bool:
        assert pool.submit(operator.neg, 1).result(20) == -1
        return bool(link._pump.napping)

    eventually(naps, within=20)


def test_lone_calls_are_led_by_their_callers(pool: ParslPoolExecutor, link: Link) -> None:
    get_led(pool)
    before = link._pump._leads
    for i in range(200):
        assert pool.submit(operator.neg, i).result(20) == -i
    assert link._pump._leads > before


def test_after_lone_calls_the_io_thread_sleeps_without_end(pool: ParslPoolExecutor, link: Link) -> None:
    get_led(pool)
    eventually(lambda: not link._pump.napping and link.called != link.turn, within=20)


def test_a_task_that_nobody_waits_for_is_sent_after_lone_calls(pool: ParslPoolExecutor) -> None:
    get_led(pool)
    done = threading.Event()
    future = pool.submit(operator.neg, 7)
    future.add_done_callback(lambda _: done.set())
    assert done.wait(20)


def test_wait_and_as_completed_work_after_lone_calls(pool: ParslPoolExecutor) -> None:
    for _ in range(20):
        get_led(pool)
        first: Future[int] = pool.submit(operator.neg, 1)
        second: Future[int] = pool.submit(operator.neg, 2)
        done, _ = wait([first, second], timeout=20, return_when=FIRST_COMPLETED)
        assert done
        assert {future.result() for future in as_completed([first, second], timeout=20)} == {-1, -2}


def test_a_leader_gives_up_at_its_timeout_and_the_task_goes_on(pool: ParslPoolExecutor) -> None:
    for timeout in (0, 0.001, 0.02):
        get_led(pool)
        future = pool.submit(time.sleep, 0.3)
        with pytest.raises(FuturesTimeoutError):
            future.result(timeout)
        assert future.result(20) is None


def test_errors_and_large_results_reach_a_leader(pool: ParslPoolExecutor) -> None:
    for _ in range(5):
        get_led(pool)
        with pytest.raises(ZeroDivisionError):
            pool.submit(operator.truediv, 1, 0).result(20)
        get_led(pool)
        assert pool.submit(operator.mul, b"x", 3_000_000).result(20) == b"x" * 3_000_000
        get_led(pool)
        assert pool.submit(len, b"x" * 3_000_000).result(20) == 3_000_000


def test_a_future_that_others_watch_is_not_finished_behind_their_backs(pool: ParslPoolExecutor) -> None:
    for i in range(100):
        future, told = pool.submit(operator.neg, i), threading.Event()
        future.add_done_callback(tells(told))
        assert future.result(20) == -i
        assert told.wait(20)


def test_many_threads_that_wait_at_once_all_get_their_own(pool: ParslPoolExecutor) -> None:
    wrong: list[object] = []

    def call(base: int) -> None:
        for i in range(base, base + 150):
            value = pool.submit(operator.neg, i).result(20)
            if value != -i:
                wrong.append((i, value))
            if i % 40 == 0:
                time.sleep(0.001)  # now and then somebody is alone

    run_in_threads([partial(call, base) for base in range(0, 800, 200)])
    assert not wrong


def test_many_threads_can_wait_for_one_future(pool: ParslPoolExecutor) -> None:
    for i in range(30):
        get_led(pool)
        future = pool.submit(operator.neg, i)
        with ThreadPoolExecutor(4) as threads:
            assert list(threads.map(future.result, [20] * 4)) == [-i] * 4


def test_a_callback_may_submit_and_wait(pool: ParslPoolExecutor) -> None:
    for i in range(20):
        values: Future[int] = Future()

        def call_again(done: Any, values: Future[int] = values) -> None:
            values.set_result(pool.submit(operator.neg, done.result()).result(20))

        pool.submit(operator.neg, i).add_done_callback(call_again)
        assert values.result(20) == i


def test_a_callback_may_wait_for_what_has_come_with_its_own_result(pool: ParslPoolExecutor) -> None:
    for _ in range(10):
        futures = [pool.submit(operator.neg, i) for i in range(64)]
        seen: list[int] = []
        finished = threading.Event()

        def see_all(_: object, futures: Any = futures, seen: Any = seen, finished: Any = finished) -> None:
            seen.extend(future.result(20) for future in futures)
            finished.set()

        for future in futures[1:]:
            future.add_done_callback(lambda _: None)  # watched: told one after the other
        futures[0].add_done_callback(see_all)
        assert finished.wait(30)
        assert seen == [-i for i in range(64)]


def test_the_pool_may_be_shut_down_while_a_caller_leads() -> None:
    for _ in range(3):
        with ParslPoolExecutor(1, manager_inside=True) as pool:
            get_led(pool)
            future = pool.submit(time.sleep, 0.004)
            other = threading.Thread(target=pool.shutdown)
            other.start()
            assert future.result(20) is None
            other.join(20)
            assert not other.is_alive()


def test_an_interchange_that_dies_under_a_leader_costs_no_result() -> None:
    with ParslPoolExecutor(1, manager_inside=True) as pool:
        for i in range(3):
            get_led(pool)
            killer = threading.Timer(0.002, pool._backend.link._process.kill)
            future = pool.submit(time.sleep, 0.004)
            killer.start()
            assert future.result(30) is None
            killer.join()
            assert pool.submit(operator.neg, i).result(30) == -i


# -- exceptions out of nowhere


@contextmanager
def alarms() -> Iterator[None]:
    def strike(signum: int, frame: FrameType | None) -> None:
        raise Alarm

    old = signal.signal(signal.SIGALRM, strike)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, old)


def test_signals_at_any_time_lose_no_result_of_the_waiting_main_thread(pool: ParslPoolExecutor) -> None:
    dice = random.Random(1)
    struck = 0
    with alarms():
        for i in range(3000):
            future = pool.submit(operator.neg, i)
            while True:
                try:
                    signal.setitimer(signal.ITIMER_REAL, dice.choice((5e-5, 1e-4, 2e-4)) * dice.random() + 1e-6)
                    value = future.result(30)
                    signal.setitimer(signal.ITIMER_REAL, 0)
                    break
                except Alarm:
                    struck += 1
                except RuntimeError as error:  # the standard library's Condition can't bear a signal at one place
                    assert isinstance(error.__context__, Alarm)
                    struck += 1
            assert value == -i
    assert struck > 300
    assert [pool.submit(operator.neg, i).result(20) for i in range(50)] == [-i for i in range(50)]


_BREAKS = ("CALL", "RESUME", "JUMP_BACKWARD", "JUMP_ABSOLUTE", "YIELD")


class Striker:
    """A trace function that raises at the nth place in pump.py and tries.py where a signal could."""

    def __init__(self, place: int) -> None:
        self.left = place
        self._last: dict[FrameType, str] = {}

    def __call__(self, frame: FrameType, event: str, arg: object) -> Any:
        if not frame.f_code.co_filename.endswith(("pump.py", "tries.py")):
            return None
        frame.f_trace_opcodes = True
        return self._trace

    def _trace(self, frame: FrameType, event: str, arg: object) -> Any:
        if event == "opcode":
            # Handlers of signals run after calls, jumps back and the entry of a function; nowhere else.
            after = self._last.get(frame, "RESUME")
            self._last[frame] = dis.opname[frame.f_code.co_code[frame.f_lasti]]
            if after.startswith(_BREAKS):
                self.left -= 1
                if self.left == 0:
                    raise Alarm
        return self._trace


@pytest.mark.skipif(sys.version_info[:2] == (3, 13), reason="sys.settrace() of 3.13.0 leaves out most opcodes")
def test_an_exception_at_every_place_of_a_lead_loses_nothing(pool: ParslPoolExecutor, link: Link) -> None:
    struck_at: list[int] = []
    place = led_in_peace = 0
    while led_in_peace < 3:
        place += 1
        get_led(pool)
        leads = link._pump._leads
        future = pool.submit(operator.neg, place)
        striker = Striker(place)
        sys._getframe().f_trace_opcodes = True  # Python 3.12 looks at this only in settrace()
        sys.settrace(striker)
        try:
            future.result(30)
            led_in_peace += link._pump._leads > leads and striker.left > 0
        except Alarm:
            struck_at.append(place)
        finally:
            sys.settrace(None)
        assert future.result(30) == -place
    assert len(struck_at) > 15
    assert not link.tries.table


def test_a_leader_that_is_held_up_for_good_does_not_hold_up_the_pool(
    pool: ParslPoolExecutor, link: Link, monkeypatch: pytest.MonkeyPatch
) -> None:
    # As if a signal's handler had broken in on it, and waited for the pool.
    monkeypatch.setattr(pump_module, "_PATIENCE_S", 0.01)
    get_led(pool)
    eventually(lambda: link._pump._token.acquire(timeout=0.1), within=20)
    futures = [pool.submit(operator.neg, i) for i in range(10)]
    done, _ = wait(futures, timeout=20)
    assert len(done) == 10
    assert [pool.submit(operator.neg, i).result(20) for i in range(50)] == [-i for i in range(50)]


def test_a_handler_may_use_the_pool(pool: ParslPoolExecutor) -> None:
    futures: list[Future[int]] = []

    def strike(signum: int, frame: FrameType | None) -> None:
        futures.append(pool.submit(operator.neg, 5))
        # Not for ever: it may have broken in on main while that holds the condition of its own future, which the
        # I/O thread then waits for; so it is with the standard library's pools.
        wait(futures[-1:], timeout=0.2)

    old = signal.signal(signal.SIGALRM, strike)
    dice = random.Random(2)
    try:
        for i in range(300):
            future = pool.submit(operator.neg, i)
            signal.setitimer(signal.ITIMER_REAL, 2e-4 * dice.random() + 1e-6)
            assert future.result(30) == -i
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, old)
    assert len(futures) > 100
    assert {future.result(20) for future in futures} == {-5}


def tells(told: threading.Event) -> Callable[[object], None]:
    return lambda _: told.set()


def run_in_threads(jobs: list[Callable[[], object]]) -> None:
    threads = [threading.Thread(target=job) for job in jobs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not any(thread.is_alive() for thread in threads)
