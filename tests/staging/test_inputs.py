"""Files that come to a task, wherever they stand among its arguments."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from parsl_pool import Config, File, ParslPoolExecutor, ThreadPoolExecutor, bash_app, join_app, python_app
from parsl_pool.errors import DependencyError, StagingError, TransferFailed
from tests.staging.shelf import noted, on_shelf

pytestmark = pytest.mark.timeout(60)


@dataclass
class Pair:
    left: Any
    right: Any


def text_of(value: Any) -> Any:
    """The same with the contents of files in their places."""
    if isinstance(value, File):
        return Path(value).read_text()
    if isinstance(value, (list, tuple)):
        return [text_of(item) for item in value]
    if isinstance(value, dict):
        return {name: text_of(item) for name, item in value.items()}
    return [text_of(value.left), text_of(value.right)] if isinstance(value, Pair) else value


@python_app
def read(*args: Any, inputs: Any = (), **kwargs: Any) -> Any:
    return text_of(args), text_of(kwargs), text_of(inputs)


@python_app
def where(file: Any) -> "str | None":
    local_path: str | None = file.local_path
    return local_path


@bash_app
def show(inputs: Any = (), stdout: Any = None) -> str:
    return f"cat {inputs[0].filepath}"


@pytest.fixture
def file(shelf: Path) -> File:
    (shelf / "a b#1?%20é.txt").write_text("contents")
    return on_shelf(shelf / "a b#1?%20é.txt")


PLACES: dict[str, Callable[[Any], tuple[Any, Any]]] = {
    "positional": lambda file: (read(1, file), ([1, "contents"], {}, [])),
    "keyword": lambda file: (read(other=file), ([], {"other": "contents"}, [])),
    "inputs": lambda file: (read(inputs=[file, 2]), ([], {}, ["contents", 2])),
    "nested": lambda file: (read([{"a": (file,)}]), ([[{"a": ["contents"]}]], {}, [])),
    "in a dataclass": lambda file: (read(Pair(file, 3)), ([["contents", 3]], {}, [])),
    "twice": lambda file: (read(file, [file]), (["contents", ["contents"]], {}, [])),
}


@pytest.mark.parametrize("place", PLACES)
def test_a_file_is_found_wherever_it_stands(pool: ParslPoolExecutor, file: File, place: str) -> None:
    future, expected = PLACES[place](file)
    assert future.result() == expected
    assert file.local_path is None  # the user's own is left alone


@pytest.mark.parametrize("first", [True, False], ids=["before", "after"])
def test_a_file_is_found_among_many_other_things(pool: ParslPoolExecutor, file: File, first: bool) -> None:
    others = [f"{number:020}" for number in range(10_000)]  # their pickle is no small one
    things = [file, *others] if first else [*others, file]
    assert pool.submit(text_of, things).result() == ["contents" if thing is file else thing for thing in things]


def test_submit_and_map_bring_files_too(pool: ParslPoolExecutor, file: File) -> None:
    assert pool.submit(text_of, file).result() == "contents"
    assert pool.options(label="x").submit(text_of, [file]).result() == ["contents"]
    assert list(pool.map(text_of, [file, file])) == ["contents"] * 2
    assert list(pool.map(text_of, [file, file, 5], chunksize=2)) == ["contents", "contents", 5]


def test_it_lands_in_the_working_directory_under_its_name(pool: ParslPoolExecutor, file: File, working: Path) -> None:
    place = Path(str(where(file).result()))
    assert place.name == "a b#1?%20é.txt" and working in place.parents


def test_a_command_reads_it(pool: ParslPoolExecutor, shelf: Path, tmp_path: Path) -> None:
    (shelf / "plain").write_text("contents")
    assert show(inputs=[on_shelf(shelf / "plain")], stdout=str(tmp_path / "out")).result() == 0
    assert (tmp_path / "out").read_text() == "contents"


def test_plain_paths_are_left_where_they_are(pool: ParslPoolExecutor, tmp_path: Path) -> None:
    (tmp_path / "here").write_text("contents")
    assert where(File(tmp_path / "here")).result() is None
    assert pool.submit(text_of, File(tmp_path / "here")).result() == "contents"


def test_what_nobody_can_bring_is_told_by_the_call(pool: ParslPoolExecutor) -> None:
    with pytest.raises(StagingError, match="executor 'main' can stage in 'odd://host/a'; there is: NoOpFileStaging, "):
        read(File("odd://host/a"))
    with pytest.raises(StagingError, match="odd://host/a"):
        pool.submit(text_of, [File("odd://host/a")])
    assert read(5).result() == ([5], {}, [])


def test_a_file_that_is_missing_fails_the_task_with_the_url_and_the_words(
    pool: ParslPoolExecutor, shelf: Path, way: str
) -> None:
    error = read(on_shelf(shelf / "missing")).exception()
    assert isinstance(error, DependencyError if way == "separate" else TransferFailed)
    cause = error.__cause__ if way == "separate" else error
    assert isinstance(cause, TransferFailed) and cause.url == f"shelf:{shelf / 'missing'}"
    assert f"shelf:{shelf / 'missing'}: the shelf has no such file" in str(error)
    (shelf / "missing").write_text("now")
    assert read(on_shelf(shelf / "missing")).result() == (["now"], {}, [])


@python_app
def wait_and_read(file: Any, go: str) -> str:
    import time

    while not Path(go).exists():
        time.sleep(0.01)
    return Path(file).read_text()


def test_tasks_that_need_the_same_file_at_the_same_time_share_one_transfer(
    pool: ParslPoolExecutor, file: File, tmp_path: Path
) -> None:
    path = Path(file.path)
    futures = [wait_and_read(file, str(tmp_path / "go")) for _ in range(20)]
    (tmp_path / "go").touch()
    assert [future.result() for future in futures] == ["contents"] * 20
    assert noted(path, "fetched") == 1
    path.write_text("other contents")
    assert wait_and_read(File(file.url), str(tmp_path / "go")).result() == "other contents"
    assert noted(path, "fetched") == 2


@join_app
def pass_on(file: File) -> Any:
    return read(file)


def test_a_join_app_gets_files_as_they_are_and_passes_them_on(pool: ParslPoolExecutor, file: File) -> None:
    assert pass_on(file).result() == (["contents"], {}, [])


@python_app(cache=True)
def length_of(file: Any) -> int:
    return len(Path(file).read_text())


def test_a_known_call_brings_nothing(pool: ParslPoolExecutor, file: File) -> None:
    assert length_of(file).result() == 8
    assert length_of(File(file.url)).result() == 8
    assert noted(Path(file.path), "fetched") == 1


def test_an_executor_says_what_it_can_when_it_is_made() -> None:
    with pytest.raises(TypeError, match="storage_access"):
        ThreadPoolExecutor(storage_access=["noop"])
    with pytest.raises(TypeError, match="storage_access"):
        Config([ThreadPoolExecutor(storage_access=5)])
