"""The user's code fails wherever the kernel calls it: its own task fails, or the log tells, and the pool goes on."""

import logging
import os
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest

import parsl_pool
from parsl_pool import AUTO_LOGNAME, Config, HighThroughputExecutor, ParslPoolExecutor, ThreadPoolExecutor, bash_app
from parsl_pool.dataflow.resolvers import DependencyResolver
from parsl_pool.errors import DependencyError
from tests.eventually import eventually

pytestmark = pytest.mark.timeout(60)

FAILURES = [ValueError("the user's own"), SystemExit("the user's own"), KeyboardInterrupt("the user's own")]
"""What user code raises here. The last one comes from code that catches Ctrl-C and raises it again, in any thread."""


@pytest.fixture(params=FAILURES, ids=lambda failure: type(failure).__name__)
def failure(request: pytest.FixtureRequest) -> BaseException:
    """What the user's code raises: a fresh one."""
    error = request.param
    return type(error)(*error.args)  # type: ignore[no-any-return]  # any of FAILURES


class Raises:
    """Called with anything, it raises."""

    def __init__(self, error: BaseException) -> None:
        self.error = error

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        raise self.error


class Keyed:
    """Its key is made by user code that raises."""

    error: BaseException


@parsl_pool.id_for_memo.register(Keyed)
def _(thing: Keyed, output_ref: bool = False) -> bytes:
    raise Keyed.error


def is_well(pool: ParslPoolExecutor) -> None:
    """It takes calls of each kind, and nothing of the failed ones is left in it."""
    assert pool.submit(abs, -1).result(30) == 1
    assert pool.submit(sum, [pool.submit(abs, -1), 2]).result(30) == 3
    assert pool.options(retries=1, retry_handler=lambda error, record: 1.0).submit(abs, -1).result(30) == 1
    joined: Any = pool.options(join=True).submit(lambda: [pool.submit(abs, -1)]).result(30)
    assert joined == [1]
    eventually(lambda: not pool._flow().is_busy())
    eventually(lambda: not any(backend.unfinished() for backend in pool.executors.values()))


def check_in_own_thread(pool: ParslPoolExecutor, call: Callable[[], "Future[Any]"], failure: BaseException) -> None:
    """As below, for what runs within submit(): Ctrl-C is the user's there, and ends the submit."""
    if not isinstance(failure, KeyboardInterrupt):
        return check(pool, call(), failure)
    with pytest.raises(KeyboardInterrupt):
        call()
    is_well(pool)


def check(pool: ParslPoolExecutor, future: "Future[Any]", failure: BaseException) -> None:
    """The task has failed with that error, what needs it cannot run, and the pool goes on."""
    needs = pool.submit(abs, future)
    error = future.exception(30)
    assert type(error) is type(failure) and str(error) == "the user's own", repr(error)
    assert isinstance(needs.exception(30), DependencyError)
    is_well(pool)


def test_a_retry_handler(pool: ParslPoolExecutor, failure: BaseException) -> None:
    future = pool.options(retries=3, retry_handler=Raises(failure)).submit(int, "x")
    check(pool, future, failure)


def test_a_resolver_that_gathers(pool: ParslPoolExecutor, failure: BaseException) -> None:
    resolver = DependencyResolver(Raises(failure), lambda value: value)
    check_in_own_thread(pool, lambda: pool.options(dependency_resolver=resolver).submit(abs, -1), failure)


@pytest.mark.parametrize("waits", [False, True], ids=["at once", "after a future"])
def test_a_resolver_that_unwraps(pool: ParslPoolExecutor, failure: BaseException, waits: bool) -> None:
    later: Future[int] = Future()
    gathered = [later] if waits else []
    resolver = DependencyResolver(lambda value: gathered, Raises(failure))
    future = pool.options(dependency_resolver=resolver).submit(abs, -1)
    later.set_result(1)
    check(pool, future, failure)


@pytest.mark.parametrize("waits", [False, True], ids=["at once", "after a future"])
def test_a_memo_key_function(pool: ParslPoolExecutor, failure: BaseException, waits: bool) -> None:
    Keyed.error = failure
    later: Future[int] = Future()

    def call() -> "Future[Any]":
        return pool.options(cache=True).submit(max, later if waits else 1, Keyed())

    if not waits:
        return check_in_own_thread(pool, call, failure)
    future = call()
    later.set_result(1)
    check(pool, future, failure)


def test_a_join_app(pool: ParslPoolExecutor, failure: BaseException) -> None:
    check(pool, pool.options(join=True).submit(Raises(failure)), failure)


def test_a_join_app_s_container(pool: ParslPoolExecutor, failure: BaseException) -> None:
    class Odd(list[Any]):
        def __iter__(self) -> Any:
            raise failure

    check(pool, pool.options(join=True).submit(lambda: Odd([pool.submit(abs, -1)])), failure)


def test_a_callback(pool: ParslPoolExecutor, failure: BaseException, caplog: pytest.LogCaptureFixture) -> None:
    """It is told on the log, as the standard library does it."""
    gate: Future[int] = Future()
    future = pool.submit(abs, gate)
    called: list[Any] = []
    future.add_done_callback(Raises(failure))
    future.add_done_callback(called.append)
    gate.set_result(-1)
    assert future.result(30) == 1
    eventually(lambda: called == [future])
    assert "exception calling callback" in caplog.text and "the user's own" in caplog.text
    is_well(pool)


def test_a_callback_of_a_task_of_several_steps(pool: ParslPoolExecutor, failure: BaseException) -> None:
    gate: Future[int] = Future()
    joins: Future[Any] = pool.options(join=True).submit(lambda: gate)
    remembered = pool.options(cache=True).submit(abs, gate)
    fails = pool.options(retry_handler=lambda error, record: 9.0).submit(int, gate, "x")
    for future in (joins, remembered, fails):
        future.add_done_callback(Raises(failure))
    gate.set_result(-5)
    assert (joins.result(30), remembered.result(30)) == (-5, 5)
    assert isinstance(fails.exception(30), TypeError)
    is_well(pool)


class OddError(Exception):
    """Its text and its attributes are user code that fails."""

    def __str__(self) -> str:
        raise RuntimeError("no text")

    __repr__ = __str__


def raises_odd_error() -> None:
    raise OddError


def test_an_error_that_has_no_text(pool: ParslPoolExecutor, tmp_path: Path) -> None:
    calls: list[Any] = []

    def cost(error: BaseException, record: Any) -> float:
        calls.append(record["fail_history"])
        return 1.0

    plain = pool.submit(raises_odd_error)
    tried = pool.options(retries=1, retry_handler=cost).submit(raises_odd_error)
    needs = pool.submit(abs, plain)
    for future in (plain, tried):
        assert type(future.exception(30)).__name__ in ("OddError", "RemoteError")
    assert "OddError" in str(needs.exception(30))
    assert len(calls) == 2
    is_well(pool)


class NoRepr(list[Any]):
    """It can't be shown."""

    def __repr__(self) -> str:
        raise RuntimeError("no text")


def test_what_can_t_be_shown_is_told_of_all_the_same(pool: ParslPoolExecutor) -> None:
    """Where a wrong thing of the user's is to be named in an error."""
    odd: Any = NoRepr([1])
    joins = pool.options(join=True).submit(lambda: odd)
    tried = pool.options(retries=1, retry_handler=lambda error, record: odd).submit(int, "x")
    no_text: Any = NoRepr
    says = bash_app(data_flow_kernel=pool)(no_text)()
    for future, words in (joins, "must return a future"), (tried, "must return a number"), (says, "as a text"):
        error = str(future.exception(30))
        assert words in error and "<NoRepr instance" in error
    is_well(pool)


def test_the_function_that_makes_paths(kind: str, failure: BaseException, tmp_path: Path) -> None:
    """It is called in the user's own thread, and what it raises is raised there."""
    executor: Any = ThreadPoolExecutor() if kind == "threads" else HighThroughputExecutor(max_workers_per_node=1)
    with ParslPoolExecutor(Config([executor], std_autopath=Raises(failure))) as own:
        say = bash_app(data_flow_kernel=own)(command)
        with pytest.raises(type(failure), match="the user's own"):
            say(stdout=AUTO_LOGNAME)
        assert say(stdout=str(tmp_path / "out")).result(30) == 0
        is_well(own)


def command(stdout: Any = None) -> str:
    return "true"


# ---- the log


class BadHandler(logging.Handler):
    """A handler of the user's that fails, in whatever thread something is logged."""

    def __init__(self, error: BaseException) -> None:
        super().__init__(logging.DEBUG)
        self.error = error
        self.threads: set[str] = set()

    def emit(self, record: logging.LogRecord) -> None:
        self.threads.add(threading.current_thread().name)
        raise self.error


class BadFilter(logging.Filter):
    """The same for a filter."""

    def __init__(self, handler: BadHandler) -> None:
        super().__init__()
        self.handler = handler

    def filter(self, record: logging.LogRecord) -> bool:
        self.handler.emit(record)
        return True


@pytest.fixture(params=["a handler", "a filter", "the root's"])
def bad_log(request: pytest.FixtureRequest) -> Iterator[BadHandler]:
    """Everything is logged, and to log fails."""
    ours, handler = logging.getLogger("parsl_pool"), BadHandler(ValueError("the log is full"))
    owner = logging.getLogger() if request.param == "the root's" else ours
    plain = logging.StreamHandler()
    plain.addFilter(BadFilter(handler))
    owner.addHandler(plain if request.param == "a filter" else handler)
    level = ours.level
    ours.setLevel(logging.DEBUG)
    yield handler
    ours.setLevel(level)
    owner.removeHandler(plain)
    owner.removeHandler(handler)


def die_once(path: str) -> int:
    if not os.path.exists(path):
        open(path, "w").close()
        os._exit(1)
    return 5


def one_after_a_while() -> int:
    time.sleep(0.5)
    return 1


@pytest.mark.parametrize(
    "bad_log, manager_inside", [("a handler", True), ("a filter", True), ("the root's", False)], indirect=["bad_log"]
)
def test_a_logger_of_a_pool_of_processes(
    bad_log: BadHandler, manager_inside: bool, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    config = Config(
        [HighThroughputExecutor(max_workers_per_node=1, manager_inside=manager_inside)],
        retries=1, run_dir=tmp_path / "runs", checkpoint_mode="task_exit",
    )  # fmt: skip
    with ParslPoolExecutor(config) as own:
        assert own.submit(die_once, str(tmp_path / "died")).result(30) == 5
        own.options(cache=True).submit(time.sleep, 0).result(30)
        future = own.submit(one_after_a_while)  # if it were done, the callback and the log would raise here
        future.add_done_callback(Raises(ValueError("the user's own")))
        assert future.result(30) == 1
        is_well(own)
        process = own._backend.link._process
        assert process is not None
        process.kill()
        assert own.submit(abs, -2).result(30) == 2
        is_well(own)
    assert bad_log.threads, "nothing was logged"
    assert "the log is full" in capfd.readouterr().err


def test_a_logger_of_a_pool_that_loads_a_checkpoint(bad_log: BadHandler, tmp_path: Path) -> None:
    def run(**options: Any) -> float:
        with ParslPoolExecutor(Config([ThreadPoolExecutor()], run_dir=tmp_path / "runs", **options)) as own:
            result: float = own.options(cache=True).submit(pow, 2, 10).result(30)
            is_well(own)
        return result

    assert run(checkpoint_mode="dfk_exit") == 1024
    found = parsl_pool.get_last_checkpoint(tmp_path / "runs")
    assert run(checkpoint_files=[*found, str(tmp_path)]) == 1024
    assert bad_log.threads, "nothing was logged"


