"""What a task does with files that it brings itself."""

import os
import threading
from concurrent.futures import ThreadPoolExecutor as Threads
from pathlib import Path
from typing import Any

import pytest

from parsl_pool.errors import TransferFailed
from parsl_pool.staging import folders, in_task
from parsl_pool.staging.inputs import Input, with_inputs

pytestmark = pytest.mark.timeout(30)


class Source:
    """Fetches files of a given size, and counts them."""

    def __init__(self, size: int = 10) -> None:
        self.size = size
        self.fetched: list[str] = []

    def __call__(self, url: str, target: Path, options: Any) -> None:
        self.fetched.append(url)
        target.write_bytes(b"x" * self.size)


def use(source: Any, path: Path, most_bytes: int = 1000, function: Any = os.path.getsize) -> Any:
    return with_inputs(function, (Input(source, f"odd:{path.parent.name}", str(path), None, most_bytes),), path)


def test_those_who_use_a_file_at_once_fetch_it_once(tmp_path: Path) -> None:
    source, together = Source(), threading.Barrier(8)

    def size(path: Path) -> int:
        together.wait(20)  # all have it at the same time
        return os.path.getsize(path)

    with Threads(8) as threads:
        sizes = list(threads.map(lambda _: use(source, tmp_path / "a" / "file", function=size), range(8)))
    assert sizes == [10] * 8 and len(source.fetched) == 1


def test_a_file_that_is_there_is_not_fetched_again(tmp_path: Path) -> None:
    source = Source()
    assert [use(source, tmp_path / "a" / "file") for _ in range(3)] == [10] * 3
    assert source.fetched == ["odd:a"]


def test_files_that_nobody_uses_go_when_there_is_too_much_of_them(tmp_path: Path) -> None:
    source = Source()
    for name in "abcd":
        use(source, tmp_path / name / "file", most_bytes=25)
    kept = {path.parent.name for path in tmp_path.glob("*/file")}
    assert "d" in kept and "a" not in kept and len(kept) <= 3

    def others(path: Path) -> set[str]:
        for name in "efgh":
            use(source, tmp_path / name / "file", most_bytes=0)
        return {each.parent.name for each in tmp_path.glob("*/file")}

    assert use(source, tmp_path / "used" / "file", function=others) == {"used", "h"}


def test_folders_of_others_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "file").write_bytes(b"x" * 1000)
    use(Source(), tmp_path / "a" / "file", most_bytes=0)
    assert (tmp_path / "mine" / "file").exists()


def test_who_fails_to_fetch_leaves_it_to_the_next(tmp_path: Path) -> None:
    def fails(url: str, target: Path, options: Any) -> None:
        raise TransferFailed(url, "no")

    for _ in range(2):
        with pytest.raises(TransferFailed, match="odd:a: no"):
            use(fails, tmp_path / "a" / "file")
    assert use(Source(), tmp_path / "a" / "file") == 10


def test_many_threads_that_fetch_evict_and_use_never_miss_their_file(tmp_path: Path) -> None:
    source = Source()

    def one(number: int) -> int:
        return int(use(source, tmp_path / str(number % 5) / "file", most_bytes=20))

    with Threads(8) as threads:
        assert set(threads.map(one, range(400))) == {10}


def test_what_was_sent_is_not_kept(tmp_path: Path) -> None:
    path = tmp_path / "out" / "file"
    sent: list[tuple[bytes, str]] = []

    def send(source: Path, url: str, options: Any) -> None:
        sent.append((source.read_bytes(), url))

    assert in_task.with_output(lambda: path.write_bytes(b"text"), send, str(path), "odd:x", None) == 4
    assert sent == [(b"text", "odd:x")] and not path.parent.exists()
    with pytest.raises(ZeroDivisionError):
        in_task.with_output(lambda: 1 // 0, send, str(path), "odd:x", None)
    assert len(sent) == 1 and not path.parent.exists()


@pytest.mark.parametrize("way", ["sent by the task", "sent later"])
def test_a_folder_that_somebody_removes_as_it_is_made_is_made_again(
    way: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "out" / "file"
    made: list[str] = []

    def make(folder: str) -> None:
        folders.made(folder)
        made.append(folder)
        if len(made) == 1:
            os.rmdir(folder)  # who makes room has taken it for one of a task that was killed

    monkeypatch.setattr(in_task, "made", make)
    if way == "sent later":
        assert in_task.with_folder(path.write_bytes, str(path.parent), b"text") == 4
    else:
        assert in_task.with_output(path.write_bytes, lambda *_: None, str(path), "odd:x", None, b"text") == 4
    assert made == [str(path.parent)] * 2
