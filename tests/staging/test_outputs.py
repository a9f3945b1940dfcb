"""Files that a task writes, and what becomes of them."""

import os
from pathlib import Path
from typing import Any

import pytest

from parsl_pool import Config, DataFuture, File, ParslPoolExecutor, bash_app, python_app
from parsl_pool.apps import PythonApp
from parsl_pool.errors import DependencyError, MissingOutputs, StagingError, TransferFailed
from tests.staging.conftest import KINDS, WAYS
from tests.staging.shelf import noted, on_shelf

pytestmark = pytest.mark.timeout(60)


@python_app
def write(text: Any, outputs: Any = ()) -> int:
    for output in outputs:
        with open(output, "w") as file:
            file.write(str(text))
    return len(outputs)


@python_app
def append(inputs: Any = (), outputs: Any = ()) -> None:
    text = Path(inputs[0]).read_text()
    Path(outputs[0]).write_text(text + "+")


@python_app
def forget(outputs: Any = ()) -> None:
    pass


@python_app
def fail(outputs: Any = ()) -> None:
    raise ZeroDivisionError


@python_app
def read(file: Any) -> str:
    return Path(file).read_text()


@bash_app
def say(text: str, stdout: Any = None, stderr: Any = None, outputs: Any = ()) -> str:
    more = f"; echo {text} >{outputs[0].filepath}" if outputs else ""
    return f"echo {text}; echo oh >&2{more}"


def test_an_output_is_done_when_it_has_arrived(pool: ParslPoolExecutor, shelf: Path) -> None:
    target = on_shelf(shelf / "out put#1")
    future = write("text", outputs=[target])
    (output,) = future.outputs
    assert output.result() is target and (shelf / "out put#1").read_text() == "text"
    assert future.result() == 1 and noted(shelf / "out put#1", "sent") == 1
    assert target.local_path is None and isinstance(output, DataFuture) and output.tid == future.tid


def test_a_task_that_reads_it_waits_until_it_has_arrived(pool: ParslPoolExecutor, shelf: Path) -> None:
    first = write("text", outputs=[on_shelf(shelf / "a")])
    second = append(inputs=[first.outputs[0]], outputs=[on_shelf(shelf / "b")])
    assert read(second.outputs[0]).result() == "text+"
    assert read([second.outputs[0]][0]).result() == "text+"


def test_a_command_s_output_and_its_streams_are_brought_out(pool: ParslPoolExecutor, shelf: Path) -> None:
    out, err, other = (on_shelf(shelf / name) for name in ("out", "err", "o"))
    future = say("hello", stdout=out, stderr=err, outputs=[other])
    assert isinstance(future.stdout, DataFuture) and isinstance(future.stderr, DataFuture)
    assert future.stdout.result() == out
    future.stderr.result()
    future.outputs[0].result()
    assert [(shelf / name).read_text() for name in ("out", "err", "o")] == ["hello\n", "oh\n", "hello\n"]
    assert len(future.outputs) == 1


@python_app
def writes_by_default(folder: str, outputs: Any = ()) -> None:
    Path(outputs[0]).write_text("text")


def test_outputs_by_position(pool: ParslPoolExecutor, shelf: Path) -> None:
    writes_by_default("x", [on_shelf(shelf / "one")]).outputs[0].result()
    assert (shelf / "one").read_text() == "text"


def test_outputs_by_default(pool: ParslPoolExecutor, shelf: Path) -> None:
    target = on_shelf(shelf / "usual")

    @python_app
    def usual(outputs: Any = (target,)) -> None:
        Path(outputs[0]).write_text("text")

    usual().outputs[0].result()
    assert (shelf / "usual").read_text() == "text"


def test_both_streams_into_one_file(pool: ParslPoolExecutor, shelf: Path) -> None:
    future = say("hello", stdout=on_shelf(shelf / "both"), stderr=on_shelf(shelf / "both"))
    assert future.stdout is future.stderr and isinstance(future.stdout, DataFuture)
    future.stdout.result()
    assert (shelf / "both").read_text() == "hello\noh\n"


def test_the_end_of_a_pool_waits_for_what_is_brought_out(kind: str, way: str, shelf: Path, tmp_path: Path) -> None:
    executor = KINDS[kind](storage_access=[WAYS[way]()], working_dir=tmp_path / "working")
    with ParslPoolExecutor(Config([executor], run_dir=None)) as pool:
        PythonApp(write.func, pool)("text", outputs=[on_shelf(shelf / "one")])
    assert (shelf / "one").read_text() == "text"


def test_what_was_not_written_is_named(pool: ParslPoolExecutor, shelf: Path, way: str) -> None:
    future = forget(outputs=[on_shelf(shelf / "never")])
    error = future.exception()
    assert isinstance(error, MissingOutputs) and "never" in str(error)
    assert isinstance(future.outputs[0].exception(), MissingOutputs)
    assert not (shelf / "never").exists() and not noted(shelf / "never", "sent")


def test_a_task_s_own_failure_is_its_output_s(pool: ParslPoolExecutor, shelf: Path) -> None:
    future = fail(outputs=[on_shelf(shelf / "never")])
    assert isinstance(future.outputs[0].exception(), ZeroDivisionError)
    assert isinstance(future.exception(), ZeroDivisionError)


def test_a_transfer_that_fails_fails_the_output_and_who_depends_on_it(
    pool: ParslPoolExecutor, shelf: Path, way: str
) -> None:
    future = write("text", outputs=[on_shelf(shelf / "no" / "such")])
    error = future.outputs[0].exception()
    assert isinstance(error, TransferFailed) and str(error) == f"shelf:{shelf}/no/such: there is no such shelf"
    dependent = read(future.outputs[0]).exception()
    assert isinstance(dependent, DependencyError) and "there is no such shelf" in str(dependent)
    # A transfer of its own comes after the task, whose value is known before.
    assert future.exception() is None if way == "separate" else isinstance(future.exception(), TransferFailed)


def test_what_nobody_can_bring_out_is_told_by_the_call(pool: ParslPoolExecutor) -> None:
    with pytest.raises(StagingError, match="executor 'main' can stage out 'odd://host/a'; there is: NoOpFileStaging, "):
        write("x", outputs=[File("odd://host/a")])
    assert write("x").result() == 0


def test_a_file_may_be_written_again_once_it_has_arrived(
    pool: ParslPoolExecutor, shelf: Path, tmp_path: Path
) -> None:
    for target in (on_shelf(shelf / "one"), File(tmp_path / "one")):
        for text in ("first", "second"):
            write(text, outputs=[target]).outputs[0].result()
            assert Path(target.path).read_text() == text


def test_a_task_cannot_write_one_file_twice(pool: ParslPoolExecutor, tmp_path: Path) -> None:
    with pytest.raises(StagingError, match="write would write '.*one' twice"):
        write("x", outputs=[File(tmp_path / "one"), File(tmp_path / "one")])


def test_a_file_that_is_being_written_can_be_written_by_no_other_task(
    pool: ParslPoolExecutor, shelf: Path, tmp_path: Path
) -> None:
    os.mkfifo(tmp_path / "gate")
    held = read(File(tmp_path / "gate"))
    for number, target in enumerate((on_shelf(shelf / "one"), File(tmp_path / "one"))):
        first = write(held, outputs=[target])
        with pytest.raises(StagingError, match=rf"{target.path}' is being written by task \d+ \(write\)"):
            write("x", outputs=[target])
        if number:
            with pytest.raises(StagingError, match="is being written"):
                write("x", outputs=[os.path.relpath(target.path)])
        after = append(inputs=[first.outputs[0]], outputs=[target])  # it comes after the first
        last = append(inputs=[after.outputs[0]], outputs=[on_shelf(shelf / f"last{number}")])
        if number:
            (tmp_path / "gate").write_text("text")
            assert [read(each.outputs[0]).result() for each in (after, last)] == ["text+", "text++"]


@python_app(cache=True)
def write_once(text: str, outputs: Any = ()) -> str:
    Path(outputs[0]).write_text(text)
    return text


def test_the_same_call_may_be_made_twice_at_once(pool: ParslPoolExecutor, shelf: Path) -> None:
    futures = [write_once("text", outputs=[on_shelf(shelf / "one")]) for _ in range(3)]
    assert [future.outputs[0].result().url for future in futures] == [f"shelf:{shelf / 'one'}"] * 3
    assert (shelf / "one").read_text() == "text"
