"""Members of zip files, as inputs and as outputs."""

import os
import shutil
import zipfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor as Threads
from pathlib import Path
from typing import Any

import pytest

import parsl_pool
from parsl_pool import Config, File, ParslPoolExecutor, python_app
from parsl_pool.errors import DependencyError, StagingError, TransferFailed
from parsl_pool.staging import NoOpFileStaging, ZipFileStaging, zip_files
from tests import leaks
from tests.staging.conftest import KINDS

pytestmark = pytest.mark.timeout(60)


@pytest.fixture(scope="module")
def pool(kind: str, working: Path) -> Iterator[ParslPoolExecutor]:
    """A loaded pool that knows zip files."""
    executor = KINDS[kind](storage_access=[NoOpFileStaging(), ZipFileStaging()], working_dir=working)
    with leaks.keeping("the module's pool"), parsl_pool.load(Config([executor], run_dir=None)) as pool:
        yield pool
    parsl_pool.clear()


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as opened:
        opened.writestr("in/side é.txt", "contents")
    return tmp_path / "a.zip"


@python_app
def write(text: Any, outputs: Any = ()) -> None:
    for output in outputs:
        Path(output).write_text(text)


@python_app
def read(file: Any) -> str:
    return Path(file).read_text()


def contents(archive: Path) -> dict[str, str]:
    with zipfile.ZipFile(archive) as opened:
        assert opened.testzip() is None
        return {name: opened.read(name).decode() for name in opened.namelist()}


def test_members_are_read_and_written(pool: ParslPoolExecutor, archive: Path) -> None:
    text = read(File(f"zip:{archive}/in/side é.txt"))
    written = write(text, outputs=[File(f"zip:{archive}/out/one"), File(f"zip:{archive}/two")])
    assert [read(output).result() for output in written.outputs] == ["contents"] * 2
    assert contents(archive) == dict.fromkeys(["in/side é.txt", "out/one", "two"], "contents")


def test_many_tasks_write_into_one_zip_file(pool: ParslPoolExecutor, tmp_path: Path) -> None:
    archive = tmp_path / "new.ZIP"
    outputs = [write(str(n), outputs=[File(f"zip:{archive}/{n}")]).outputs[0] for n in range(20)]
    for output in outputs:
        output.result()
    assert contents(archive) == {str(n): str(n) for n in range(20)}


def test_what_is_not_there_is_told_with_the_url(pool: ParslPoolExecutor, archive: Path, tmp_path: Path) -> None:
    for url, words in (
        (f"zip:{archive}/nothing", "there is no such member"),
        (f"zip:{tmp_path}/no.zip/a", "No such file or directory"),
    ):
        error = read(File(url)).exception()
        assert isinstance(error, DependencyError) and isinstance(error.__cause__, TransferFailed)
        assert url in str(error) and words in str(error)
    error = write("x", outputs=[File(f"zip:{tmp_path}/no/such.zip/a")]).outputs[0].exception()
    assert isinstance(error, TransferFailed) and "such.zip" in str(error)


@pytest.mark.parametrize("member", ["../a", "a/../../b", "a//b", "./a", "a/.."])
def test_a_name_that_leads_elsewhere_is_refused_by_the_call(
    pool: ParslPoolExecutor, member: str, archive: Path
) -> None:
    with pytest.raises(StagingError, match="no empty part, '.' or '..'"):
        read(File(f"zip:{archive}/{member}"))
    with pytest.raises(StagingError, match="no empty part, '.' or '..'"):
        write("x", outputs=[File(f"zip:{archive}/{member}")])
    assert list(contents(archive)) == ["in/side é.txt"]


@pytest.mark.parametrize(
    ("url", "words"), [("zip://host/a.zip/b", "names a host"), ("zip:/a/b", "is no member of a zip file")]
)
def test_what_is_no_member_is_told_by_the_call(pool: ParslPoolExecutor, url: str, words: str) -> None:
    with pytest.raises(StagingError, match=words):
        read(File(url))


def test_a_zip_file_is_as_it_was_if_it_can_t_be_written_on(
    archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "source").write_bytes(os.urandom(5000))
    before = archive.read_bytes()

    def breaks_off(source: Any, target: Any, length: int) -> None:
        target.write(source.read(1000))
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(shutil, "copyfileobj", breaks_off)
    for path in (archive, tmp_path / "new.zip"):
        with pytest.raises(TransferFailed, match=rf"zip:{path}/more: .*No space left on device"):
            zip_files.send(tmp_path / "source", f"zip:{path}/more", None)
    assert archive.read_bytes() == before and not (tmp_path / "new.zip").exists()
    with pytest.raises(TransferFailed, match="No space left"):
        zip_files.fetch(f"zip:{archive}/in/side é.txt", tmp_path / "target", None)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.zip", "source"]


def test_a_member_is_replaced_by_a_new_one(archive: Path, tmp_path: Path) -> None:
    (tmp_path / "source").write_text("new")
    zip_files.send(tmp_path / "source", f"zip:{archive}/in/side é.txt", None)
    zip_files.fetch(f"zip:{archive}/in/side é.txt", tmp_path / "target", None)
    assert (tmp_path / "target").read_text() == "new"


def test_threads_that_make_one_zip_file_at_once_all_get_into_it(tmp_path: Path) -> None:
    (tmp_path / "source").write_text("text")
    with Threads(8) as threads:
        list(threads.map(lambda n: zip_files.send(tmp_path / "source", f"zip:{tmp_path}/a.zip/{n}", None), range(40)))
    assert len(contents(tmp_path / "a.zip")) == 40
