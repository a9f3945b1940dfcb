"""What a provider of somebody's own can do, and what becomes of its mistakes."""

import os
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest

import parsl_pool
from parsl_pool import (
    AUTO_LOGNAME,
    Config,
    DataFuture,
    File,
    HighThroughputExecutor,
    ThreadPoolExecutor,
    bash_app,
    python_app,
)
from parsl_pool.dataflow.resolvers import DEEP_DEPENDENCY_RESOLVER
from parsl_pool.errors import DependencyError, StagingError, TransferFailed
from parsl_pool.staging import DataManager, InTask, NoOpFileStaging, Protocol, Staging, default_staging
from tests.eventually import eventually
from tests.staging import shelf as shelves
from tests.staging.conftest import KINDS
from tests.staging.shelf import SeparateShelf, ShelfInTask, noted, on_shelf

pytestmark = pytest.mark.timeout(60)


@python_app
def read(file: Any) -> str:
    return Path(file).read_text()


@python_app
def write(text: Any, outputs: Any = ()) -> None:
    Path(outputs[0]).write_text(text)


@pytest.fixture(autouse=True)
def unload() -> Iterator[None]:
    yield
    parsl_pool.clear()


def threads(*storage: Staging, **options: Any) -> Any:
    return parsl_pool.load(Config([ThreadPoolExecutor("main", storage_access=storage)], run_dir=None, **options))


def copy_it(source: str, target: str) -> str:
    Path(target).write_bytes(Path(source).read_bytes())
    return target


def wrapped(func: Callable[..., Any], log: str) -> Callable[..., Any]:
    def run(*args: Any, **kwargs: Any) -> Any:
        with open(log, "a") as opened:
            opened.write("before ")
        value = func(*args, **kwargs)
        with open(log, "a") as opened:
            opened.write("after ")
        return value

    return run


class AsInParsl(Staging):
    """Written with nothing but the interface."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def can_stage_in(self, file: File) -> bool:
        return file.scheme == "mine"

    can_stage_out = can_stage_in

    def stage_in(self, dm: Any, executor: str, file: File, parent_fut: "Future[Any] | None") -> "Future[File]":
        file.local_path = str(self.folder / file.filename)
        task = dm.dfk.submit(wait_for_both, parent_fut, copy_it, file.path, file.local_path)
        return DataFuture(task, file, tid=task.tid)

    def stage_out(self, dm: Any, executor: str, file: File, app_fu: "Future[Any]") -> "Future[Any]":
        file.local_path = str(self.folder / f"out-{file.filename}")
        task: Future[Any] = dm.dfk.submit(wait_for_both, app_fu, copy_it, file.local_path, file.path)
        return task

    def replace_task(self, dm: Any, executor: str, file: File, func: Callable[..., Any]) -> Callable[..., Any]:
        return wrapped(func, str(self.folder / "log"))


def wait_for_both(_: Any, fn: Callable[..., Any], *args: Any) -> Any:
    return fn(*args)


@pytest.mark.parametrize("kind", [ThreadPoolExecutor, HighThroughputExecutor])
def test_a_provider_of_one_s_own_needs_no_more_than_the_interface(kind: Any, tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "a").write_text("text")
    executor = kind("main", storage_access=[AsInParsl(tmp_path / "folder"), *default_staging])
    with parsl_pool.load(Config([executor], run_dir=None)):
        file = File(f"mine:{tmp_path}/a")
        written = write(read(file), outputs=[File(f"mine:{tmp_path}/b")])
        assert read(written.outputs[0]).result() == "text"
        assert (tmp_path / "b").read_text() == "text" and file.local_path is None
        assert (tmp_path / "folder" / "log").read_text() == "before after " * 2


class Asked(Staging):
    """Notes what it is asked."""

    def __init__(self, name: str, notes: "list[str]", answer: bool = False) -> None:
        self.name, self.notes, self.answer = name, notes, answer

    def can_stage_in(self, file: File) -> bool:
        self.notes.append(self.name)
        return self.answer


def test_the_first_that_can_does_it(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("text")
    notes: list[str] = []
    with threads(Asked("one", notes), Asked("two", notes, True), Asked("three", notes)):
        assert read(File(tmp_path / "a")).result() == "text"
    assert notes and not notes.count("three") and notes.count("one") == notes.count("two")


class Broken(Staging):
    def can_stage_in(self, file: File) -> bool:
        return file.scheme == "broken"

    can_stage_out = can_stage_in

    def stage_in(self, *args: Any) -> Any:
        raise ZeroDivisionError("in")

    def stage_out(self, *args: Any) -> Any:
        raise ZeroDivisionError("out")


def test_the_mistake_of_a_provider_costs_one_task() -> None:
    with threads(Broken(), NoOpFileStaging()) as pool:
        assert isinstance(read(File("broken:/a")).exception(), ZeroDivisionError)
        with pytest.raises(ZeroDivisionError, match="out"):
            write("x", outputs=[File("broken:/a")])
        assert pool.submit(abs, -1).result() == 1
        pool.wait_for_current_tasks()


def fails_twice(url: str, target: Path, options: object) -> None:
    tries = Path(File(url).path)
    shelves.note(tries, "fetched")
    if noted(tries, "fetched") <= 2:
        raise TransferFailed(url, "not yet")
    target.write_text("at last")


class FlakyInTask(InTask):
    protocol = Protocol(("flaky",), fails_twice)


def test_a_task_that_brings_its_files_itself_is_tried_again_with_them(tmp_path: Path) -> None:
    with threads(FlakyInTask(), retries=2):
        assert read(File(f"flaky:{tmp_path}/a")).result() == "at last"
    assert noted(tmp_path / "a", "fetched") == 3


def test_a_task_s_budget_is_not_for_transfers_of_their_own(tmp_path: Path) -> None:
    class Flaky(SeparateShelf):
        protocol = Protocol(("flaky",), fails_twice)

    with threads(Flaky(), retries=2):
        assert isinstance(read(File(f"flaky:{tmp_path}/a")).exception(), DependencyError)
    assert noted(tmp_path / "a", "fetched") == 1


@pytest.mark.parametrize("storage", [SeparateShelf, ShelfInTask])
def test_what_a_cancelled_task_was_to_write_is_not_brought(storage: Any, tmp_path: Path) -> None:
    gate: Future[str] = Future()
    with threads(NoOpFileStaging(), storage()):
        future = write(gate, outputs=[on_shelf(tmp_path / "a")])
        assert (future.cancel() and future.outputs[0].cancelled()) or future.outputs[0].exception() is not None
        gate.set_result("text")
        written = write("other", outputs=[on_shelf(tmp_path / "a")])  # nobody writes it any more
        written.outputs[0].result()
    assert noted(tmp_path / "a", "sent") == 1 and (tmp_path / "a").read_text() == "other"


def test_nothing_is_remembered_of_files_that_nobody_uses(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("text")
    with threads(NoOpFileStaging(), SeparateShelf(), ShelfInTask()) as pool:
        written = write("text", outputs=[on_shelf(tmp_path / "b")])
        assert read(on_shelf(tmp_path / "a")).result() == read(written.outputs[0]).result() == "text"
        assert isinstance(read(on_shelf(tmp_path / "no")).exception(), DependencyError)
        stager = pool._flow().stager
        eventually(lambda: len(stager._dm._sharing) == len(stager._writers) == 0, within=20)


def test_a_dependency_resolver_sees_what_is_brought(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("text")
    with threads(SeparateShelf(), dependency_resolver=DEEP_DEPENDENCY_RESOLVER):
        assert read(on_shelf(tmp_path / "a")).result() == "text"


def test_one_file_goes_to_two_executors_at_once(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("text")
    executors = [
        ThreadPoolExecutor(label, storage_access=[storage], working_dir=tmp_path / label)
        for label, storage in (("one", SeparateShelf()), ("two", ShelfInTask()))
    ]
    file = on_shelf(tmp_path / "a")
    with parsl_pool.load(Config(executors, run_dir=None)) as pool:
        futures = [pool.options(executors=[label]).submit(str, file) for label in ("one", "two") for _ in range(3)]
        places = [Path(future.result()) for future in futures]
    assert {place.parents[2].name for place in places[:3]} == {"one"}
    assert {place.parents[2].name for place in places[3:]} == {"two"}


@python_app
def staged(path: str, outputs: Any = (), _parsl_staging_inhibit: bool = True) -> None:
    Path(path).write_text(outputs[0].url)


def test_a_task_that_brings_files_may_say_so(tmp_path: Path) -> None:
    with threads(NoOpFileStaging()):
        with pytest.raises(ValueError, match="odd:/x"):
            staged(str(tmp_path / "a"), outputs=[File("odd:/x")], _parsl_staging_inhibit=False)


@python_app
def tells(file: Any, _parsl_staging_inhibit: bool = False) -> str:
    return repr(file)


@pytest.mark.parametrize("kind", KINDS)
def test_the_files_of_a_call_that_brings_files_are_left_alone(kind: str) -> None:
    with parsl_pool.load(Config([KINDS[kind](storage_access=[NoOpFileStaging()])], run_dir=None)):
        assert tells([File("odd:/x")], _parsl_staging_inhibit=True).result() == "[<File odd:/x>]"
        with pytest.raises(StagingError, match="odd:/x") as raised:
            tells([File("odd:/x")])
        assert raised.value.__context__ is None  # it is told once


def copied_here(source: str, target: str, outputs: Any = (), _parsl_staging_inhibit: bool = True) -> int:
    Path(outputs[0].local_path).write_bytes(Path(source).read_bytes())
    return os.getpid()


class FromHere(AsInParsl):
    """Brings files by tasks of this process, as providers do that were written for Parsl."""

    pids: "list[Future[int]]"

    def stage_in(self, dm: Any, executor: str, file: File, parent_fut: "Future[Any] | None") -> "Future[File]":
        file.local_path = str(self.folder / f"local-{file.filename}")
        fetch = python_app(executors=["_parsl_internal"], data_flow_kernel=dm.dfk)(copied_here)
        future = fetch(file.path, "", outputs=[file], _parsl_staging_inhibit=True)
        self.pids.append(future)
        arrives: Future[File] = future.outputs[0]
        return arrives


@pytest.mark.parametrize("kind", KINDS)
def test_files_may_be_brought_by_tasks_of_this_process(kind: str, tmp_path: Path) -> None:
    (tmp_path / "a").write_text("text")
    provider = FromHere(tmp_path)
    provider.pids = []
    with parsl_pool.load(Config([KINDS[kind](storage_access=[provider, NoOpFileStaging()])], run_dir=None)) as pool:
        assert read(File(f"mine:{tmp_path}/a")).result() == "text"
        assert [future.result() for future in provider.pids] == [os.getpid()]
        if kind != "threads":
            assert os.getpid() not in {pool.submit(os.getpid).result() for _ in range(20)}


def test_a_data_manager_can_be_asked_by_hand(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("text")
    with threads(NoOpFileStaging(), SeparateShelf()) as pool:
        dm = DataManager(pool)
        assert dm.optionally_stage_in(5, abs, "main") == (5, abs)
        assert dm.dfk is pool and pool.data_manager.dfk is pool
        future = dm.stage_in(on_shelf(tmp_path / "a"), on_shelf(tmp_path / "a"), "main")
        assert Path(future.result()).read_text() == "text"
        assert dm.replace_task(on_shelf(tmp_path / "a"), abs, "main") is abs


@bash_app
def say(text: str, stdout: Any = AUTO_LOGNAME) -> str:
    return f"echo {text}"


def test_the_names_that_a_config_makes_up_for_streams_may_be_files_elsewhere(tmp_path: Path) -> None:
    def name(record: Any, stream: str) -> File:
        return on_shelf(tmp_path / f"{record.func_name}-{stream}")

    with threads(SeparateShelf(), std_autopath=name):
        future = say("hello")
        assert isinstance(future.stdout, DataFuture)
        assert future.stdout.result() == on_shelf(tmp_path / "say-stdout")
    assert (tmp_path / "say-stdout").read_text() == "hello\n"


def test_an_executor_without_a_pool_passes_files_as_they_are() -> None:
    with ThreadPoolExecutor("main") as executor:
        assert executor.submit(repr, {}, File("odd:/a")).result() == "<File odd:/a>"
