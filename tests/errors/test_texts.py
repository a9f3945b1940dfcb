"""What a user reads when something is wrong in a workflow: each error, in the words that the program shows.

A text says what is wrong, where, and what to do. `...` stands for anything. Errors that other tests show are listed
in ELSEWHERE, and those that nothing raises yet in NOT_YET; a new class needs a line in one of the three.
"""

import builtins
import doctest
import os
import sqlite3
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import Any, NamedTuple

import pytest

import parsl_pool
from parsl_pool import (
    Config,
    File,
    ParslPoolExecutor,
    ThreadPoolExecutor,
    bash_app,
    errors,
    join_app,
    python_app,
    session,
)
from parsl_pool.dataflow.resolvers import SHALLOW_DEPENDENCY_RESOLVER, DependencyResolver
from parsl_pool.errors import ParslPoolError
from parsl_pool.interchange import handle
from tests.eventually import eventually
from tests.recovery.arrangement import Arrangement

pytestmark = pytest.mark.timeout(60)

ROOT = Path(__file__).parents[2]
FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


class Kit(NamedTuple):
    """What a mistake is made with."""

    pool: ParslPoolExecutor
    folder: Path


# ---- the functions of a careless user


@python_app
def invert(x: float) -> float:
    return 1 / x


@python_app
def total(*numbers: Any) -> Any:
    return sum(numbers)


@python_app
def forgetful(outputs: Any = ()) -> None:
    pass


@python_app(cache=True)
def cached(x: Any) -> str:
    return str(x)


@bash_app
def shell(command: Any, stdout: Any = None, stderr: Any = None) -> Any:
    return command


@bash_app
def formats() -> str:
    return "{nobody}".format_map({})


@join_app
def joins(thing: Any) -> Any:
    return thing()


@python_app
def sleeps(walltime: float = 0.2) -> None:
    time.sleep(1.5)  # a thread does, to the end


class Model:
    """A class of the user's."""


class Unpicklable:
    def __reduce__(self) -> Any:
        raise ValueError("it holds a connection")


# ---- what goes wrong


def of(future: "Future[Any]") -> BaseException | None:
    return future.exception(30)


def missing_output(kit: Kit) -> Any:
    return of(forgetful(outputs=[File(kit.folder / "a"), File(kit.folder / "b")]))


def own_future(kit: Kit) -> Any:
    return of(joins_made_of(lambda own: own))


def cycle(kit: Kit) -> Any:
    return of(joins_made_of(lambda own: total(own, 1)))


def joins_made_of(make: Callable[[Any], Any]) -> Any:
    """A join app's future: what it returns is made of its own future."""
    box: list[Any] = []
    gate: Future[None] = Future()

    def own() -> Any:
        gate.result(20)
        return box

    future = joins(own)
    box.append(make(future))
    gate.set_result(None)
    return future


def cancelled_dependency(kit: Kit) -> Any:
    never: Future[int] = Future()
    future = total(never, 1)
    never.cancel()
    return of(future)


def deep_dependency(kit: Kit) -> Any:
    return of(total(1, total(2, invert(0)), invert(0)))


def two_budgets(kit: Kit) -> Any:
    raising = kit.pool.options(retries=1, retry_handler=lambda error, record: record["no such field"])
    return of(raising.submit(int, "x"))


def handler_without_number(kit: Kit) -> Any:
    return of(kit.pool.options(retries=1, retry_handler=lambda error, record: None).submit(int, "x"))


def gathers_nonsense(kit: Kit) -> Any:
    resolver = DependencyResolver(lambda value: [5], lambda value: value)  # type: ignore[list-item]  # the mistake
    return of(kit.pool.options(dependency_resolver=resolver).submit(abs, -1))


def foreign_checkpoint(kit: Kit) -> Any:
    path = kit.folder / "notes.sqlite"
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE notes (text)")
    connection.commit()
    connection.close()
    return kit.pool.load_checkpoints([path])


def nothing_loaded(kit: Kit) -> Any:
    loaded, session._loaded = session._loaded, None
    try:
        total(1)
    finally:
        session._loaded = loaded


def used_config(kit: Kit) -> Any:
    config = Config([ThreadPoolExecutor("once")])
    with ParslPoolExecutor(config):
        pass
    ParslPoolExecutor(config)


def changed_config(kit: Kit) -> None:
    kit.pool.config.retries = 3


def of_generator(kit: Kit) -> Any:
    def items() -> Iterator[int]:
        yield 1

    return python_app(items)


class Row(NamedTuple):
    """One mistake, and what the user reads."""

    error: type[BaseException]
    mistake: Callable[[Kit], Any]
    text: str


E = errors
TABLE: dict[str, Row] = {
    # Config, load
    "a dict to load": Row(
        E.WrongType, lambda kit: parsl_pool.load({"sites": []}),  # type: ignore[arg-type]  # the mistake
        "config must be a Config, got {'sites': []}: Parsl has had no dicts since 0.6, write"
        " Config(executors=[HighThroughputExecutor(...)])",
    ),
    "a dict": Row(
        E.WrongType, lambda kit: ParslPoolExecutor({"sites": []}),  # type: ignore[arg-type]  # the mistake
        "max_workers must be a Config, got {'sites': []}: Parsl has had no dicts since 0.6, write"
        " Config(executors=[HighThroughputExecutor(...)])",
    ),
    "a dict of executors": Row(
        E.ConfigurationError, lambda kit: Config({"label": "x"}),  # type: ignore[dict-item]  # the mistake
        "executors must be a list of executors, such as [HighThroughputExecutor(...)], at least one, each with a label"
        " of its own, got {'label': 'x'}",
    ),
    "two of one label": Row(
        E.ConfigurationError, lambda kit: Config([ThreadPoolExecutor("a"), ThreadPoolExecutor("a")]),
        "executors must be at least one, each with a label of its own, got [ThreadPoolExecutor(label='a', ...: two have"
        " the label 'a': give each its own label=",
    ),
    "an unknown mode": Row(
        E.ConfigurationError, lambda kit: Config(checkpoint_mode="always"),
        "checkpoint_mode must be one of 'task_exit', 'periodic', 'dfk_exit', 'manual', or None, got 'always'",
    ),
    "an unknown option": Row(
        E.ConfigurationError, lambda kit: kit.pool.options(retry=1),
        "there is no option 'retry'; there are: retries, lost_retries, ...",
    ),
    "a Config used twice": Row(
        E.ConfigurationError, used_config,
        "the executor 'once' has been used for a pool already: make a new one, and a new Config (in a function, if you"
        " need several)",
    ),
    "a Config changed in use": Row(
        E.ConfigurationError, changed_config,
        "retries can't be changed: a pool uses this Config already; make a new one",
    ),
    "a second load": Row(
        E.ConfigurationError, lambda kit: parsl_pool.load(),
        "a pool is loaded already, <ParslPoolExecutor ...>: call parsl_pool.clear() first, or use it by"
        " parsl_pool.dfk()",
    ),
    "nothing loaded": Row(
        E.NoDataFlowKernelError, nothing_loaded,
        "no pool is loaded: call parsl_pool.load() first, or parsl_pool.load(Config(...))",
    ),
    "a pool that was sent to nobody of its own": Row(
        E.PoolElsewhere, lambda kit: handle.restore("a token", "pool-9", 2).submit(abs, 1),
        "pool pool-9 can be used by the process that made it, and by tasks that it runs: this process is no worker of"
        " it; nor is one that a task has forked",
    ),
    "a label that nobody has": Row(
        E.ConfigurationError, lambda kit: python_app(executors=["gpu"])(abs)(-1),
        "executors must be labels of this pool's, got 'gpu'; there are: '...'",
    ),
    "resources": Row(
        E.InvalidResourceSpecification, lambda kit: kit.pool.options(resources={"cores": 0}),
        "resources={'cores': 0}: cores must be at least 1 and at most 1,073,741,824, got 0",
    ),
    "resources for threads": Row(
        E.InvalidResourceSpecification, lambda kit: parsl_pool.ThreadPoolExecutor().submit(abs, {"gpus": 1}, 1),
        "executor threads: it takes no resource_specification, got {'gpus': 1}",
    ),
    # apps
    "a generator": Row(
        E.ConfigurationError, of_generator,
        "items is a generator function (it has a yield): a task has one result, return a list",
    ),
    "no function": Row(
        E.WrongType, lambda kit: python_app(5), "an app is made of a function, got 5",  # type: ignore[call-overload]
    ),
    "an exit code": Row(
        E.BashExitFailure, lambda kit: of(shell("echo no such planet >&2; exit 3", stderr=str(kit.folder / "err"))),
        "the command of bash app shell ended with exit code 3\nits last words:\nno such planet",
    ),
    "a signal": Row(
        E.BashExitFailure, lambda kit: of(shell("kill -9 $$")), "the command of bash app shell was ended by signal 9",
    ),
    "no command": Row(
        E.BashAppNoReturn, lambda kit: of(shell(None)),
        "bash app shell must return its command line as a text, and returned None",
    ),
    "a bad format": Row(
        E.AppBadFormatting, lambda kit: of(formats()),
        "bash app formats failed to make up its command line: KeyError: 'nobody'",
    ),
    "a bad stream": Row(
        E.BadStdStreamFile, lambda kit: shell("true", stdout=5),
        "stdout must be a path, (path, mode as for open), or AUTO_LOGNAME, got 5",
    ),
    "a stream that can't be opened": Row(
        E.BadStdStreamFile, lambda kit: of(shell("true", stdout=str(kit.folder))),
        "stdout can't be written to '...': [Errno 21] Is a directory: '...'",
    ),
    "missing outputs": Row(
        E.MissingOutputs, missing_output, "app forgetful ended well, and has not written: .../a, .../b",
    ),
    "a walltime": Row(
        E.AppTimeout, lambda kit: of(sleeps()), "task ... (sleeps) ran longer than its walltime of 0.2 s",
    ),
    # what tasks need
    "a failed dependency": Row(
        E.DependencyError, deep_dependency,
        "task ... (total) did not run: it needs task ... (total), which needs task ... (invert), which failed with"
        " ZeroDivisionError: ... (and 1 more that it needs failed)",
    ),
    "a cancelled dependency": Row(
        E.DependencyError, cancelled_dependency,
        "task ... (total) did not run: it needs <Future at ... state=cancelled...>, which failed with CancelledError",
    ),
    "a failed join": Row(
        E.JoinError, lambda kit: of(joins(lambda: [invert(2), invert(0)])),
        "task ... (joins) has no result: it joined task ... (invert), which failed with ZeroDivisionError: ...",
    ),
    "a join without futures": Row(
        TypeError, lambda kit: of(joins(lambda: 7)),
        "the join app joins must return a future, or a container with futures in it, and returned 7",
    ),
    "a join of itself": Row(
        TypeError, own_future, "the join app joins has returned its own future: it would never end",
    ),
    "a join that waits for itself": Row(
        E.DependencyCycle, cycle,
        "task ... (joins) would never end: it waits for task ... (total), which waits for task ... (joins)",
    ),
    "a resolver of nonsense": Row(
        E.WrongType, gathers_nonsense, "traverse_to_gather must give futures, and gave 5",
    ),
    # tries
    "a handler that raises": Row(KeyError, two_budgets, "'no such field'"),
    "a handler without a number": Row(
        TypeError, handler_without_number,
        "the retry_handler must return a number, the cost of this failure, and returned None",
    ),
    # memory
    "no key": Row(
        E.UnknownMemoType, lambda kit: of(cached([1, {"best": Model()}])),
        "unknown type for memoization: argument x of cached: [1]['best'] is a tests.errors.test_texts.Model. Say what"
        " makes two of them the same by @parsl_pool.id_for_memo.register(tests.errors.test_texts.Model) on a function"
        " (obj, output_ref=False) -> bytes, or leave the argument out of the key (ignore_for_cache)",
    ),
    "no checkpoint": Row(
        E.BadCheckpoint, lambda kit: kit.pool.load_checkpoints([kit.folder / "none"]),
        "checkpoint .../none: there is no such file",
    ),
    "a foreign file": Row(
        E.BadCheckpoint, foreign_checkpoint,
        "checkpoint .../notes.sqlite: is an SQLite database, but not a checkpoint of parsl_pool",
    ),
    "no mode": Row(
        E.DataFlowException, lambda kit: kit.pool.checkpoint(),
        "this pool writes no checkpoint: give its Config a checkpoint_mode=",
    ),
}  # fmt: skip

IN_PROCESSES: dict[str, Row] = {
    "what can't be pickled": Row(
        E.SerializationError, lambda kit: of(total([1, {"model": Unpicklable()}])),
        "cannot pickle argument 1 of total, at [1]['model']: ValueError: it holds a connection...",
    ),
    "a result that can't be pickled": Row(
        E.SerializationError, lambda kit: of(kit.pool.submit(Unpicklable)),
        "cannot pickle the result...: ValueError: it holds a connection...",
    ),
    "a future in a closure": Row(
        E.SerializationError,
        lambda kit: (lambda future: of(kit.pool.submit(lambda: future.result())))(kit.pool.submit(abs, -1)),
        "cannot pickle ...<lambda>, at ...'future': a future can't be pickled; give it to submit() as an argument: ...",
    ),
    "a future that a resolver has left": Row(
        E.SerializationError,
        lambda kit: of(
            kit.pool.options(dependency_resolver=SHALLOW_DEPENDENCY_RESOLVER).submit(len, [kit.pool.submit(abs, -1)])
        ),
        "cannot pickle a future: the dependency resolver has left it in a container; processes can't share futures",
    ),
    "a dead worker": Row(
        E.WorkerLost, lambda kit: of(kit.pool.submit(os._exit, 3)),
        "the worker that ran this task was lost (task ... (_exit), worker ..., host ..., pid ..., exit code 3...). The"
        " pool goes on with the other tasks.",
    ),
}  # fmt: skip


def check(row: Row, kit: Kit) -> None:
    try:
        error = row.mistake(kit)
    except Exception as raised:
        error = raised
    assert isinstance(error, row.error), repr(error)
    text = str(error)
    assert doctest.OutputChecker().check_output(row.text + "\n", text + "\n", FLAGS), f"\n{text}\nis not\n{row.text}"


@pytest.mark.parametrize("name", TABLE)
def test_what_a_user_reads(name: str, pool: ParslPoolExecutor, tmp_path: Path) -> None:
    check(TABLE[name], Kit(pool, tmp_path))
    assert pool.submit(abs, -3).result() == 3


@pytest.mark.parametrize("name", IN_PROCESSES)
def test_what_a_user_of_processes_reads(name: str, pool: ParslPoolExecutor, kind: str, tmp_path: Path) -> None:
    if kind == "threads":
        pytest.skip("in threads nothing is pickled, and nothing dies alone")
    check(IN_PROCESSES[name], Kit(pool, tmp_path))
    assert pool.submit(abs, -3).result() == 3


def test_the_root_s_own_traceback_is_told_once(pool: ParslPoolExecutor) -> None:
    error = total(total(total(invert(0)))).exception(30)
    assert isinstance(error, errors.DependencyError) and isinstance(error.__cause__, ZeroDivisionError)
    told = "".join(traceback.format_exception(error))
    assert told.count("return 1 / x") == 1, told
    assert told.count("DependencyError") == 1 and told.count("direct cause") <= 2, told
    assert "test_texts.py" in told and "in invert" in told


def test_a_handler_s_failure_tells_the_task_s_too(pool: ParslPoolExecutor) -> None:
    error = two_budgets(Kit(pool, Path()))
    told = "".join(traceback.format_exception(error))
    assert "no such field" in told and "invalid literal for int() with base 10: 'x'" in told, told


def test_a_list_that_is_changed_after_the_submit_is_no_endless_wait() -> None:
    """In threads, tasks get the user's own list: a future that is put there later may be the task's own."""
    with ParslPoolExecutor(Config([ThreadPoolExecutor()])) as threads:
        gate: Future[int] = Future()
        numbers: list[Any] = [gate]
        future = threads.submit(sum, numbers)
        numbers.append(future)
        gate.set_result(1)
        error = future.exception(20)
        assert isinstance(error, errors.DataFlowException)
        assert "was put into an argument after the submit" in str(error) and "is not changed" in str(error)
    assert isinstance(of_processes(), int)


def of_processes() -> Any:
    with ParslPoolExecutor(1) as processes:
        gate: Future[int] = Future()
        numbers: list[Any] = [gate]
        future = processes.submit(sum, numbers)
        numbers.append(future)
        gate.set_result(1)
        return future.result(20)


def lose(part: str, inside: bool, folder: Path) -> str:
    """What the future of a task says whose place is killed under it, and which has no `lost_retries`."""
    arrangement = Arrangement(inside)
    with arrangement.pool(1, lost_retries=0) as pool:
        future = pool.submit(begin_and_sleep, folder / "begun")
        eventually((folder / "begun").exists)
        if part == "pool":
            pool.kill_workers()
        else:
            getattr(arrangement.parts(pool), part).kill()
        error = future.exception(30)
    assert isinstance(error, {"pool": E.WorkerKilled, "manager": E.ManagerLost, "interchange": E.InterchangeLost}[part])
    return str(error)


def begin_and_sleep(path: Path) -> None:
    path.touch()
    time.sleep(100)


@pytest.mark.parametrize(
    "part, inside, text",
    [
        ("pool", True, "the place of this task was lost...That was asked for, by terminate_workers(), kill_workers() or"
                       " future.kill()."),
        ("manager", False, "the manager that held this task was lost: ... The pool goes on with the other tasks."),
        ("interchange", True, "the interchange process that held this task was lost: ... The pool goes on with the"
                              " other tasks."),
    ],
)  # fmt: skip
def test_what_is_said_of_a_place_that_is_lost(part: str, inside: bool, text: str, tmp_path: Path) -> None:
    said = lose(part, inside, tmp_path)
    assert doctest.OutputChecker().check_output(text + "\n", said + "\n", FLAGS), said


def test_what_a_missing_package_is_called(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tqdm", None)  # as Python says of what is not installed
    monkeypatch.setitem(sys.modules, "tqdm.auto", None)
    with pytest.raises(errors.OptionalModuleMissing) as raised:
        ParslPoolExecutor(1, progress=True)
    assert str(raised.value) == "progress=True: needs tqdm, which is not installed"


ELSEWHERE: dict[str, str] = {
    "AppException": "a base",
    "BadStateException": "a base",
    "ExecutorError": "a base",
    "ExecutionProviderException": "a base",
    "ChannelError": "a base",
    "ParslPoolError": "a base",
    "PlaceLost": "a base",
    "PropagatedException": "a base",
    "GlobusTransferFailed": "tests/staging/globus/test_faults.py",
    "StagingError": "tests/staging/test_inputs.py",
    "UnsupportedFeatureError": "tests/providers/test_simulated.py",
    "RemoteError": "tests/interchange/test_envelope.py",
    "DeserializationError": "tests/client/test_unpicklable.py",
    "InitializerError": "tests/client/test_unpicklable.py",
    "PoolBroken": "tests/recovery/test_start.py",
    "ScalingFailed": "tests/scaling/test_poller.py",
    "VersionMismatch": "tests/recovery/test_versions.py",
    "StartError": "tests/recovery/test_start.py",
    "BadMessage": "tests/interchange/test_wire.py",
    "InternalError": "tests/client/test_futures.py",
    "UnsupportedPlatform": "tests/client/test_errors.py",  # its text: tests/test_portable.py
    "ScaleOutFailed": "tests/providers/test_local.py",
    "ScriptPathError": "tests/providers/test_scripts.py",
    "SchedulerMissingArgs": "tests/providers/schedulers/test_life_of_a_job.py",
    "SubmitException": "tests/providers/schedulers/test_life_of_a_job.py",
    "BadLauncher": "tests/providers/test_launchers.py",
    "AuthException": "tests/services/test_ssh_login.py",
    "BadHostKeyException": "tests/services/test_ssh_login.py",
    "SSHException": "tests/services/test_ssh_cuts.py",
    "BadScriptPath": "tests/providers/test_channels.py",
    "BadPermsScriptPath": "tests/providers/test_channels.py",
    "FileExists": "tests/providers/test_channels.py",
    "FileCopyException": "tests/providers/test_channels.py",
    "ObjectUnavailable": "tests/client/test_objects.py",
    "TransferFailed": "tests/staging/transfers/test_web.py",
}
"""The tests that show the others, of the rooms below workflows."""

NOT_YET: set[str] = set()
"""Parsl's names for what nothing here can run into so far."""


def our_errors() -> dict[str, type[BaseException]]:
    names = [*vars(errors), *errors._LAZY]
    found = {name: getattr(errors, name) for name in names}
    return {
        name: thing for name, thing in found.items() if isinstance(thing, type) and issubclass(thing, ParslPoolError)
    }


def test_every_error_has_a_place() -> None:
    shown = {row.error.__name__ for row in [*TABLE.values(), *IN_PROCESSES.values()]}
    shown |= {"OptionalModuleMissing", "WorkerKilled", "ManagerLost", "InterchangeLost"}  # by tests of their own
    names = set(our_errors())
    assert names == (shown - set(vars(builtins))) | set(ELSEWHERE) | NOT_YET
    for name, place in ELSEWHERE.items():
        assert place == "a base" or name in (ROOT / place).read_text(), f"{name} is not in {place}"


def test_every_error_is_in_the_guide() -> None:
    pages = [*(ROOT / "docs" / "guide").glob("*.md"), ROOT / "docs" / "providers.md"]
    text = "\n".join(page.read_text() for page in pages)
    bases = {name for name, place in ELSEWHERE.items() if place == "a base"}
    missing = [name for name in set(our_errors()) - bases - NOT_YET - {"BadMessage"} if f"`{name}`" not in text]
    assert not missing, missing  # a BadMessage goes to the log: it is nobody's failure


def test_what_is_said_to_be_raised_nowhere_is_raised_nowhere() -> None:
    sources = [
        path for room in ("parsl_pool", "interchange", "providers") for path in (ROOT / room).rglob("*.py")
        if path.name not in ("errors.py", "lost.py", "provider_errors.py", "staging_errors.py")
    ]  # fmt: skip
    text = "\n".join(path.read_text() for path in sources)
    assert not [name for name in NOT_YET if f"{name}(" in text]
