"""Files in places where one does not see them at first: inside objects, as defaults, in calls of tasks and of joins."""

from __future__ import annotations

import pickle
from collections import OrderedDict, defaultdict, deque
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from parsl_pool import File, ParslPoolExecutor, bash_app, join_app, python_app
from parsl_pool.errors import DependencyError, MissingOutputs, StagingError, TransferFailed
from tests.staging.shelf import noted, on_shelf

pytestmark = pytest.mark.timeout(60)


class Plain:
    def __init__(self, inner: Any) -> None:
        self.inner = inner


class Slots:
    __slots__ = ("inner",)

    def __init__(self, inner: Any) -> None:
        self.inner = inner


class MadeAnew(Plain):
    """Its file is another object each time that it is pickled."""

    def __reduce__(self) -> Any:
        inner = self.inner
        return Plain, (File(inner.url) if isinstance(inner, File) else inner,)


class Big(Plain):
    """With a buffer that is large enough to travel beside the pickle."""

    def __init__(self, inner: Any, data: Any = b"x" * 100_000) -> None:
        super().__init__(inner)
        self.data = data

    def __reduce_ex__(self, protocol: Any) -> Any:
        return Big, (self.inner, pickle.PickleBuffer(self.data))


class Named(NamedTuple):
    inner: Any


class OwnDict(dict[str, Any]):
    pass


class OwnList(list[Any]):
    pass


def inner_of(value: Any) -> Any:
    while not isinstance(value, (File, str)):
        if isinstance(value, dict):
            (value,) = value.values()
        elif isinstance(value, partial):
            (value,) = value.args
        else:
            (value,) = [value.inner] if hasattr(value, "inner") else value
    return value


def text_of(value: Any) -> str:
    found = inner_of(value)
    return Path(found).read_text() if isinstance(found, File) else str(found)


ANYWHERE: dict[str, Callable[[Any], Any]] = {
    "named tuple": Named,
    "own dict": lambda thing: OwnDict(a=thing),
    "own list": lambda thing: OwnList([thing]),
    "set": lambda thing: {thing},
    "frozenset": lambda thing: frozenset([thing]),
    "ordered dict": lambda thing: OrderedDict(a=thing),
    "default dict": lambda thing: defaultdict(list, a=thing),
}
PICKLED: dict[str, Callable[[Any], Any]] = {
    "object": Plain,
    "slots": Slots,
    "deep": lambda thing: [Plain({"a": Slots((thing,))})],
    "deque": lambda thing: deque([thing]),
    "partial": lambda thing: partial(text_of, thing),
    "made anew": MadeAnew,
    "big": Big,
}


@pytest.fixture
def file(shelf: Path) -> File:
    (shelf / "file").write_text("contents")
    return on_shelf(shelf / "file")


def test_a_file_is_found_where_a_future_is(pool: ParslPoolExecutor, file: File) -> None:
    for name, make in ANYWHERE.items():
        assert pool.submit(text_of, make(file)).result() == "contents", name
        assert pool.submit(text_of, make(pool.submit(str, "contents"))).result() == "contents", name


def test_in_objects_of_all_classes_files_and_futures_are_found_by_processes(
    pool: ParslPoolExecutor, file: File, kind: str
) -> None:
    if kind == "threads":  # which share objects, and make no other ones of them
        assert isinstance(pool.submit(text_of, Plain(file)).exception(), ValueError)
        assert not noted(Path(file.path), "fetched")
        return
    for name, make in PICKLED.items():
        assert pool.submit(text_of, make(file)).result() == "contents", name
        assert pool.submit(text_of, make(pool.submit(str, "contents"))).result() == "contents", name
    assert list(pool.map(text_of, [Plain(file)] * 4, chunksize=2)) == ["contents"] * 4
    assert file.local_path is None


def test_an_output_of_another_task_is_found_in_an_object(pool: ParslPoolExecutor, shelf: Path, kind: str) -> None:
    written = write("text", outputs=[on_shelf(shelf / "one")])
    if kind != "threads":
        assert pool.submit(text_of, Plain([written.outputs[0]])).result() == "text"


def test_what_is_deep_in_an_object_and_nobody_can_bring_is_told_by_the_call(
    pool: ParslPoolExecutor, kind: str
) -> None:
    if kind != "threads":
        with pytest.raises(StagingError, match="odd://host/a"):
            pool.submit(text_of, Plain(File("odd://host/a")))


def sum_of(big: Any, other: Any) -> tuple[int, str, str]:
    return len(big.data), text_of(big), text_of(other)


def test_large_buffers_go_with_files_and_futures(pool: ParslPoolExecutor, file: File) -> None:
    data = bytearray(b"y" * 300_000)
    text = pool.submit(str, "text")
    assert pool.submit(sum_of, Big("plain", data), file).result() == (300_000, "plain", "contents")
    assert pool.submit(sum_of, Big("plain", data), [file, text][:1]).result() == (300_000, "plain", "contents")
    assert pool.submit(sum_of, Big("plain", data), (text,)).result() == (300_000, "plain", "text")


# -- defaults


def test_a_file_that_is_a_parameter_s_default_is_brought(
    pool: ParslPoolExecutor, file: File, shelf: Path, tmp_path: Path
) -> None:
    (shelf / "other").write_text("other")

    @python_app
    def as_inputs(inputs: Any = (file,)) -> str:
        return text_of(inputs)

    @python_app
    def of_any_name(number: int, table: Any = [file], *, more: Any = {"a": file}) -> list[Any]:  # noqa: B006
        return [number, text_of(table), text_of(more)]

    @bash_app
    def command(table: Any = file, stdout: Any = str(tmp_path / "out")) -> str:
        return f"cat {table.filepath}"

    assert as_inputs().result() == "contents"
    assert as_inputs(inputs=["given"]).result() == as_inputs(["given"]).result() == "given"
    assert of_any_name(1).result() == [1, "contents", "contents"]
    assert of_any_name(1, ["given"]).result() == [1, "given", "contents"]
    assert of_any_name(1, more=on_shelf(shelf / "other")).result() == [1, "contents", "other"]
    assert command().result() == 0 and (tmp_path / "out").read_text() == "contents"


NOTHING = File("shelf:/nothing-here")


class Reader:
    @python_app
    def of(self, table: Any = NOTHING) -> str:
        return text_of(table)


def test_a_method_s_default_is_brought_too(pool: ParslPoolExecutor, file: File) -> None:
    assert "the shelf has no such file" in str(Reader().of().exception())
    assert Reader().of(file).result() == Reader().of(table=file).result() == "contents"


# -- calls of tasks


def calls(pool: Any, file: File, path: str) -> list[str]:
    text = pool.submit(text_of, file)
    both = pool.submit(joined, text, Plain([file]))
    here = pool.submit(text_of, File(path))
    return [text.result(), both.result(), here.result(), *pool.map(text_of, [file, file])]


def joined(one: Any, other: Any) -> str:
    return text_of(one) + text_of(other)


def calls_in_vain(pool: Any, *files: File) -> list[str]:
    errors = []
    for file in files:
        try:
            pool.submit(text_of, file).result()
        except Exception as error:
            errors.append(str(error))
    return errors


def calls_and_leaves(pool: Any, file: File, target: str) -> None:
    pool.submit(copy, file, target)


def copy(file: File, target: str) -> None:
    Path(target).write_text(Path(file).read_text())


def test_files_of_calls_that_a_task_makes_are_brought(
    pool: ParslPoolExecutor, file: File, tmp_path: Path, kind: str
) -> None:
    (tmp_path / "here").write_text("here")
    if kind == "threads":  # they share objects, see above
        assert pool.submit(text_of_call, pool, file).result() == "contents"
        return
    texts = pool.submit(calls, pool, file, str(tmp_path / "here")).result()
    assert texts == ["contents", "contentscontents", "here", "contents", "contents"]


def text_of_call(pool: Any, file: File) -> str:
    text: str = pool.submit(text_of, File(file.url)).result()
    return text


def test_a_task_is_told_what_could_not_be_brought_for_its_calls(
    pool: ParslPoolExecutor, file: File, shelf: Path
) -> None:
    urls = ["odd:/a", f"shelf:{shelf}/missing"]
    nobody, missing = pool.submit(calls_in_vain_by_url, pool, urls).result()
    assert "odd:/a" in nobody and "nothing in storage_access" in nobody
    assert f"shelf:{shelf}/missing: the shelf has no such file" in missing


def calls_in_vain_by_url(pool: Any, urls: list[str]) -> list[str]:
    return calls_in_vain(pool, *map(File, urls))


def test_a_call_that_its_task_does_not_wait_for_gets_its_files(
    pool: ParslPoolExecutor, file: File, tmp_path: Path
) -> None:
    pool.submit(calls_and_leaves, pool, file, str(tmp_path / "copied")).result()
    pool.wait_for_current_tasks()
    assert (tmp_path / "copied").read_text() == "contents"


# -- joins


@python_app
def write(text: Any, outputs: Any = ()) -> str:
    for output in outputs:
        Path(output).write_text(str(text))
    return str(text)


@python_app
def read(file: Any) -> str:
    return text_of(file)


@join_app
def write_by_join(text: str, outputs: Any = ()) -> Any:
    return write(text, outputs=outputs)


@join_app
def join_of_join(text: str, outputs: Any = ()) -> Any:
    return write_by_join(text, outputs=[outputs[0]])


@join_app
def forget(outputs: Any = ()) -> Any:
    return write("x")


@pytest.mark.parametrize("join", [write_by_join, join_of_join], ids=["join", "join of a join"])
def test_an_output_of_a_join_is_done_when_it_has_arrived(pool: ParslPoolExecutor, shelf: Path, join: Any) -> None:
    (output,) = join("text", outputs=[on_shelf(shelf / "one")]).outputs
    assert output.result().url == f"shelf:{shelf}/one" and (shelf / "one").read_text() == "text"
    assert noted(shelf / "one", "sent") == 1
    second = join("text", outputs=[on_shelf(shelf / "two")])
    assert read(second.outputs[0]).result() == "text"


def test_an_output_of_a_join_fails_as_its_transfer_does(pool: ParslPoolExecutor, shelf: Path) -> None:
    future = write_by_join("text", outputs=[on_shelf(shelf / "no" / "such")])
    error = future.outputs[0].exception()
    assert isinstance(getattr(error, "root_cause", error), TransferFailed)
    assert f"shelf:{shelf}/no/such: there is no such shelf" in str(error)
    dependent = read(future.outputs[0]).exception()
    assert isinstance(dependent, DependencyError) and "there is no such shelf" in str(dependent)


def test_a_path_that_no_app_of_a_join_has_written_is_named(pool: ParslPoolExecutor, tmp_path: Path) -> None:
    future = forget(outputs=[File(tmp_path / "never")])
    assert isinstance(future.exception(), MissingOutputs) and "never" in str(future.exception())
    assert isinstance(future.outputs[0].exception(), MissingOutputs)


@join_app
def looks_into(file: File) -> Any:
    return write(Path(file).read_text())


def test_a_join_that_looks_into_a_file_elsewhere_is_told_that_it_is_not_here(
    pool: ParslPoolExecutor, file: File
) -> None:
    assert f"{file.url} has no path here" in str(looks_into(file).exception())
