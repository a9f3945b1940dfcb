"""`parsl_pool.task` in tasks of processes, with the manager inside and apart, and of threads."""

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest

import parsl_pool
from parsl_pool import (
    Config,
    File,
    HighThroughputExecutor,
    ParslPoolExecutor,
    ThreadPoolExecutor,
    bash_app,
    python_app,
    task,
)
from parsl_pool.errors import ConfigurationError, SerializationError
from parsl_pool.interchange import running_task
from parsl_pool.interchange.page import SINCE
from parsl_pool.interchange.serialize import LARGE
from tests import leaks
from tests.eventually import eventually

EXECUTORS: dict[str, Callable[[], Any]] = {
    "inside": lambda: HighThroughputExecutor("it", max_workers_per_node=2, manager_inside=True),
    "apart": lambda: HighThroughputExecutor("it", max_workers_per_node=2, manager_inside=False),
    "threads": lambda: ThreadPoolExecutor("it", max_threads=2),
}
SIZES = [10, LARGE]


@contextmanager
def pool_of(place: str, **options: Any) -> Iterator[ParslPoolExecutor]:
    with ParslPoolExecutor(config=Config([EXECUTORS[place]()], **options)) as pool:
        yield pool


@pytest.fixture(params=EXECUTORS, scope="module")
def place(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture(scope="module")
def pool(place: str) -> Iterator[ParslPoolExecutor]:
    with leaks.keeping("the module's pool"), pool_of(place) as pool:
        yield pool


def count(steps: int) -> int:
    for step in range(steps):
        task.progress(step / steps, f"step {step}")
    task.progress(1, "done")
    return steps


def test_the_last_progress_is_there_with_the_result(pool: ParslPoolExecutor) -> None:
    futures = [pool.submit(count, steps) for steps in (0, 1, 30)]
    for future in futures:
        future.result(60)
        assert future.progress is not None and future.progress[:2] == (1.0, "done")
        assert abs(future.progress.when - time.time()) < 1000
    silent = pool.submit(abs, -1)
    assert silent.result(60) == 1 and silent.progress is None


def wait_until_asked(text: str) -> tuple[str, int]:
    task.progress(None, text)
    end = time.monotonic() + 60
    while not task.should_stop() and time.monotonic() < end:
        time.sleep(0.005)
    return ("asked" if task.should_stop() else "not asked"), task.try_number


def waits(future: Any, text: str) -> bool:
    return future.progress is not None and future.progress.text == text


def test_progress_is_seen_while_the_task_runs(pool: ParslPoolExecutor) -> None:
    future = pool.options(label="fit").submit(wait_until_asked, "half way")
    eventually(lambda: waits(future, "half way"))
    eventually(lambda: pool.status().progress == ((future.tid, "fit", future.progress),))
    if not isinstance(pool._backend, ThreadPoolExecutor):
        assert "half way" in pool.explain()
    assert future.stop()
    assert future.result(60) == ("asked", 0)
    assert pool.status().progress == ()


def test_a_task_that_runs_is_asked_to_stop_and_others_are_not(pool: ParslPoolExecutor) -> None:
    one, other = (pool.submit(wait_until_asked, "waits") for _ in range(2))
    behind = pool.submit(abs, -1)
    eventually(lambda: waits(one, "waits") and waits(other, "waits"))
    assert one.stop() and one.result(60) == ("asked", 0)
    assert behind.result(60) == 1
    assert not other.done() and other.stop() and other.result(60)[0] == "asked"
    assert not one.stop() and not behind.stop(), "they are over"


def test_a_task_that_has_not_begun_is_cancelled(pool: ParslPoolExecutor) -> None:
    running = [pool.submit(wait_until_asked, "waits") for _ in range(2)]
    eventually(lambda: all(waits(future, "waits") for future in running))
    waiting = pool.submit(abs, -1)
    assert waiting.stop() and waiting.cancelled()
    assert all(future.stop() for future in running)


def stop_and_fail() -> None:
    wait_until_asked("waits")
    raise ValueError(f"at try {task.try_number}")


@pytest.mark.parametrize("options", [{}, {"retry_delay": 0.001}, {"retry_handler": lambda error, record: 0.5}])
def test_a_task_that_was_asked_to_stop_is_not_tried_again(pool: ParslPoolExecutor, options: dict[str, Any]) -> None:
    future = pool.options(retries=5, **options).submit(stop_and_fail)
    eventually(lambda: waits(future, "waits"))
    assert future.stop()
    with pytest.raises(ValueError, match="at try 0"):
        future.result(60)


def near_the_end(seconds: float) -> tuple[bool, bool]:
    """What a task is told before and after so much time has passed, as far as it knows."""
    before, current = task.should_stop(), running_task.current()
    if hasattr(current, "line"):
        current.line._words[SINCE] -= int(seconds * 1e9)
    else:
        current._late -= seconds  # type: ignore[attr-defined]  # that of a thread
    return before, task.should_stop()


def test_near_the_end_of_its_walltime_a_task_is_asked_to_stop(pool: ParslPoolExecutor) -> None:
    assert pool.options(walltime=1000).submit(near_the_end, 980).result(60) == (False, True)
    assert pool.options(walltime=1000).submit(near_the_end, 500).result(60) == (False, False)


def test_a_shutdown_that_cancels_asks_what_runs_to_stop(place: str) -> None:
    with pool_of(place) as pool:
        future = pool.submit(wait_until_asked, "waits")
        eventually(lambda: waits(future, "waits"))
        pool.shutdown(cancel_futures=True)
        assert future.result(0) == ("asked", 0)


def try_until(wanted: int, size: int) -> tuple[int, list[int], int]:
    """Fails until the try of that number; each adds its own to what is saved."""
    seen, _ = task.restored(default=([], b""))
    task.progress(len(seen) / 10, f"try {task.try_number}")
    task.save("only the last one counts")
    task.save(([*seen, task.try_number], bytes(size)))
    if task.try_number < wanted:
        raise ValueError("not yet")
    return task.try_number, seen, task.id


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(
    "options",
    [{}, {"retry_delay": 0.001}, {"retry_handler": lambda error, record: 1.0}, {"cache": True}],
    ids=["plain", "delay", "handler", "cache"],
)
def test_what_a_try_saves_the_next_one_gets(pool: ParslPoolExecutor, options: dict[str, Any], size: int) -> None:
    future = pool.options(retries=3, **options).submit(try_until, 3, size)
    assert future.result(60) == (3, [0, 1, 2], future.tid)
    assert future.progress is not None and future.progress.text == "try 3"


def test_also_with_large_arguments(pool: ParslPoolExecutor) -> None:
    class Large:
        def __init__(self) -> None:
            self.data = bytes(3 * LARGE)

    def fit(large: Large, data: bytes) -> tuple[int, int, int]:
        saved = task.restored(default=b"")
        task.save(saved + bytes(LARGE))
        if task.try_number < 2:
            raise ValueError("not yet")
        return len(saved), len(large.data), len(data)

    future = pool.options(retries=2).submit(fit, Large(), bytes(2 * LARGE))
    assert future.result(60) == (2 * LARGE, 3 * LARGE, 2 * LARGE)


def test_what_is_saved_does_not_change_with_the_object(pool: ParslPoolExecutor) -> None:
    def fit() -> Any:
        state = task.restored(default=[])
        if task.try_number == 1:
            return state
        state.append(1)
        task.save(state)
        state.append(2)
        raise ValueError("not yet")

    assert pool.options(retries=1).submit(fit).result(60) == [1]


def test_a_state_is_dropped_when_its_task_ends(pool: ParslPoolExecutor) -> None:
    def fit(fails: bool) -> Any:
        found = task.restored(default="nothing")
        task.save("something")
        if fails:
            raise ValueError("no")
        return found

    for options in ({"retries": 1}, {"retries": 1, "retry_delay": 0.001}):
        for fails in (False, True):
            future = pool.options(**options).submit(fit, fails)
            future.exception(60)
            eventually(partial(has_no_state, future))
    assert pool.submit(fit, False).result(60) == "nothing", "another task of the same function"


def has_no_state(future: Any) -> bool:
    return future._record.told.state is None


def test_the_handler_of_retries_sees_how_far_the_task_was(pool: ParslPoolExecutor) -> None:
    seen: list[Any] = []

    def handler(error: BaseException, record: Any) -> float:
        seen.append(record.progress)
        return 1.0

    future = pool.options(retries=2, retry_handler=handler).submit(try_until, 2, 10)
    future.result(60)
    assert [(said.fraction, said.text) for said in seen] == [(0.0, "try 0"), (0.1, "try 1")]


def too_much() -> str:
    task.LARGEST_STATE = 1000
    try:
        task.save(bytes(2000))
    except SerializationError as error:
        return str(error)
    finally:
        task.LARGEST_STATE = 1 << 28
    return "nothing"


def test_a_state_that_is_too_large_or_cannot_be_pickled_is_the_task_s_error(pool: ParslPoolExecutor) -> None:
    text = pool.submit(too_much).result(60)
    assert "the state" in text and "may have 1,000" in text and "file" in text
    error = pool.submit(lambda: task.save(threading.Lock())).exception(60)
    assert isinstance(error, SerializationError) and "the state" in str(error)


def who() -> dict[str, Any]:
    names = ("id", "try_number", "worker_rank", "pid", "host", "run_id", "executor")
    return {name: getattr(task, name) for name in names}


def test_a_task_knows_who_it_is(place: str, pool: ParslPoolExecutor) -> None:
    for view in (pool, pool.options(label="x"), pool.options(cache=True), pool.options(retry_delay=0.1)):
        future = view.submit(who)
        known = future.result(60)
        assert (known["id"], known["try_number"]) == (future.tid, 0)
        assert (known["run_id"], known["executor"]) == (pool.run_id, "it")
        assert (known["pid"] == os.getpid()) is (place == "threads")
        assert (known["worker_rank"] >= 0) is (place != "threads")
    waits_for = pool.options(label="x").submit(lambda given: task.id, pool.submit(abs, -1))
    assert waits_for.result(60) == waits_for.tid


def test_lines_go_to_the_log_of_the_client(pool: ParslPoolExecutor, caplog: pytest.LogCaptureFixture) -> None:
    def talk() -> None:
        task.log("epoch %d of %d", 3, 7)
        task.log("100% of it", level=40)

    caplog.set_level(10, "parsl_pool.task")
    future = pool.options(label="fit").submit(talk)
    future.result(60)
    lines = [(record.levelno, record.getMessage()) for record in caplog.records if record.name == "parsl_pool.task"]
    assert lines == [(20, f"task {future.tid} (fit): epoch 3 of 7"), (40, f"task {future.tid} (fit): 100% of it")]


def test_a_command_is_told_whose_it_is(pool: ParslPoolExecutor, tmp_path: Path) -> None:
    @bash_app(data_flow_kernel=pool)
    def tell(path: str) -> str:
        return f'echo "$PARSL_POOL_TASK_ID $PARSL_POOL_TRY_NUMBER $PARSL_POOL_RUN_ID $PARSL_POOL_EXECUTOR" > {path}'

    future = tell(str(tmp_path / "said"))
    assert future.result(60) == 0
    assert (tmp_path / "said").read_text().split() == [str(future.tid), "0", pool.run_id, "it"]


NOTHING = """
from parsl_pool import task
task.progress(0.3, "x"); task.save([1]); task.log("x")
print(task.restored(), task.restored(5), task.should_stop(), task.id, task.try_number, task.worker_rank,
      repr(task.run_id), repr(task.executor), task.pid > 0, bool(task.host))
"""


def test_outside_of_a_task_it_does_nothing() -> None:
    done = subprocess.run([sys.executable, "-c", NOTHING], capture_output=True, text=True, check=True)
    assert done.stdout == "None 5 False 0 0 -1 '' '' True True\n" and not done.stderr
    with pytest.raises(ConfigurationError, match="fraction"):
        task.progress(30)
    with pytest.raises(AttributeError, match="no attribute 'ids'"):
        task.ids  # noqa: B018
    assert parsl_pool.task is task and "id" in dir(task)


def ask_inside(pool: Any) -> tuple[Any, Any]:
    """A task whose worker, the only one, runs the call that it waits for."""
    task.save("the task's")
    task.progress(0.5, "the task's")
    return pool.submit(say_inside).result(), task.id


def say_inside() -> Any:
    task.progress(0.9, "the call's")
    task.save("the call's")
    return task.restored(), task.id


def test_a_call_that_a_task_runs_itself_does_not_speak_for_it(manager_inside: bool) -> None:
    with ParslPoolExecutor(1, manager_inside=manager_inside) as pool:
        future = pool.submit(ask_inside, pool)
        (restored, its), number = future.result(60)
        assert restored is None and number == future.tid and its > 0
        assert waits(future, "the task's")


def test_who_has_only_the_file_of_a_task_can_ask_the_task_to_stop(pool: ParslPoolExecutor, tmp_path: Path) -> None:
    @python_app(data_flow_kernel=pool)
    def write(outputs: Any = ()) -> str:
        how, _ = wait_until_asked("waits")
        Path(outputs[0].filepath).write_text(how)
        return how

    future = write(outputs=[File(str(tmp_path / "how"))])
    eventually(lambda: waits(future, "waits"))
    (file,) = future.outputs
    assert file.stop() and future.result(60) == "asked"
    assert Path(file.result(60).filepath).read_text() == "asked"
