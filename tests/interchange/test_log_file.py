"""Logs of a run's processes: within bounds, for their user only, never in the way of what a process has to do."""

import logging
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from parsl_pool import ParslPoolExecutor
from parsl_pool.interchange import log_file
from parsl_pool.interchange.log_file import LogFile, ProcessLog
from tests.eventually import eventually
from tests.recovery.arrangement import Arrangement, arrangement

__all__ = ["arrangement"]

pytestmark = pytest.mark.timeout(60)

PROGRAM = """
import sys
from parsl_pool.interchange.log_file import ProcessLog
log = ProcessLog("program")
log.open(sys.argv[1], print)
"""
DYING = """
log.write("begun")
raise ValueError("no such luck")
"""
KEEPER = """
for who, data in [("one", b"a"), ("one", b"b\\n"), ("two", b"c\\n"), ("one", b"\\xff\\n")]:
    log.keep(who, data)
"""


class Complaints(list[str]):
    """What a log has complained of."""

    def __call__(self, text: str) -> None:
        self.append(text)


@pytest.fixture
def complaints() -> Complaints:
    return Complaints()


@contextmanager
def umask(mask: int) -> Iterator[None]:
    before = os.umask(mask)
    try:
        yield
    finally:
        os.umask(before)


@contextmanager
def somebody_else() -> Iterator[None]:
    """Root may write everywhere."""
    before = os.geteuid()
    if before == 0:
        os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(before)


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o7777


# ---- one file


def test_a_full_log_becomes_the_first_part_and_a_new_one_begins(
    tmp_path: Path, complaints: Complaints, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log_file, "LIMIT", 1000)
    log = LogFile(str(tmp_path / "a.log"), complaints)
    lines = [f"line {number:04} of the log\n" for number in range(500)]
    for line in lines:
        log.line(line.rstrip())
    log.close()
    assert sorted(os.listdir(tmp_path)) == ["a.log", "a.log.1"]
    first, second = (tmp_path / "a.log.1").read_text(), (tmp_path / "a.log").read_text()
    assert 900 < len(first) <= 1000 and 0 < len(second) <= 1000
    assert "".join(lines).endswith(first + second)
    assert not complaints


def test_a_line_longer_than_the_limit_is_written(
    tmp_path: Path, complaints: Complaints, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log_file, "LIMIT", 1000)
    log = LogFile(str(tmp_path / "a.log"), complaints)
    log.line("x" * 5000)
    log.line("after")
    log.close()
    assert (tmp_path / "a.log.1").read_text() == "x" * 5000 + "\n"
    assert (tmp_path / "a.log").read_text() == "after\n" and not complaints


def test_another_process_of_the_same_name_goes_on_with_the_log(tmp_path: Path, complaints: Complaints) -> None:
    for text in ("one", "two"):
        log = LogFile(str(tmp_path / "a.log"), complaints)
        log.line(text)
        log.close()
    assert (tmp_path / "a.log").read_text() == "one\ntwo\n"


@pytest.mark.parametrize("mask", [0, 0o22, 0o77, 0o777])
def test_only_the_user_can_read_a_log(
    tmp_path: Path, complaints: Complaints, monkeypatch: pytest.MonkeyPatch, mask: int
) -> None:
    monkeypatch.setattr(log_file, "LIMIT", 10)
    with umask(mask):
        log = LogFile(str(tmp_path / "a.log"), complaints)
        log.line("of some length")
        log.line("more")
        log.close()
    assert {path.name: mode(path) for path in tmp_path.iterdir()} == {"a.log": 0o600, "a.log.1": 0o600}


def test_any_text_can_be_logged(tmp_path: Path, complaints: Complaints) -> None:
    log = LogFile(str(tmp_path / "a.log"), complaints)
    log.line("caf\u00e9 \udcff")
    log.close()
    assert (tmp_path / "a.log").read_bytes() == "caf\u00e9 \\udcff\n".encode()


def full_disk(folder: Path) -> Path:
    (folder / "a.log").symlink_to("/dev/full")
    return folder / "a.log"


def directory_in_its_place(folder: Path) -> Path:
    (folder / "a.log").mkdir()
    return folder / "a.log"


@pytest.mark.parametrize(
    "place, says",
    [
        (full_disk, "No space left on device"),
        (directory_in_its_place, "Is a directory"),
        (lambda folder: folder / "not there" / "a.log", "No such file or directory"),
    ],
    ids=["full", "directory", "missing"],
)
def test_a_log_that_cannot_be_written_is_told_once(
    tmp_path: Path, complaints: Complaints, place: Callable[[Path], Path], says: str
) -> None:
    path = place(tmp_path)
    log = LogFile(str(path), complaints)
    for _ in range(3):
        log.line("something")
    log.close()
    (text,) = complaints
    assert says in text and str(path) in text


def test_a_forbidden_directory_is_told_once(tmp_path: Path, complaints: Complaints) -> None:
    place = tmp_path / "private"
    place.mkdir(mode=0)
    tmp_path.chmod(0o755)
    with somebody_else():
        log = LogFile(str(place / "a.log"), complaints)
        log.line("something")
        log.line("something")
    (text,) = complaints
    assert "Permission denied" in text


def test_a_directory_that_vanishes_is_told_once(
    tmp_path: Path, complaints: Complaints, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log_file, "LIMIT", 1000)
    place = tmp_path / "run"
    place.mkdir()
    log = LogFile(str(place / "a.log"), complaints)
    log.line("something")
    shutil.rmtree(place)
    for _ in range(3):
        log.line("x" * 600)
    (text,) = complaints
    assert "No such file or directory" in text


# ---- a process


def run(program: str, directory: Path) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-c", PROGRAM + program, str(directory)]
    return subprocess.run(command, capture_output=True, text=True, timeout=30)


def test_what_ends_a_process_is_in_its_log(tmp_path: Path) -> None:
    done = run(DYING, tmp_path)
    assert done.returncode == 1 and done.stderr.rstrip().endswith("ValueError: no such luck")
    begun, died, *trace = (tmp_path / "program.log").read_text().splitlines()
    assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} INFO program\[\d+\] begun", begun)
    assert re.search(r" ERROR program\[\d+\] died:$", died)
    assert trace[0].startswith("Traceback") and trace[-1] == "ValueError: no such luck"


def test_without_a_directory_there_is_no_log(
    tmp_path: Path, complaints: Complaints, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    log = ProcessLog("program")
    log.open("", complaints)
    log.write("something")
    log.keep("worker 0", b"something")
    assert not os.listdir(tmp_path) and not complaints


def test_what_processes_write_to_stderr_stands_below_their_names(tmp_path: Path) -> None:
    done = run(KEEPER, tmp_path)
    assert done.returncode == 0, done.stderr
    lines = (tmp_path / "program.stderr").read_bytes().splitlines()
    assert [line.split()[-1] for line in lines] == [b"one", b"ab", b"two", b"c", b"one", b"\xff"]
    assert [line.split()[0] for line in lines] == [b"==", b"ab", b"==", b"c", b"==", b"\xff"]


# ---- a pool


def cheep() -> int:
    print("cheep", file=sys.stderr)
    return os.getpid()


def names(run_dir: Path) -> list[str]:
    """Of the logs; the process id of a manager apart is not known here."""
    return sorted(
        re.sub(r"^manager-.*-\d+-[0-9a-f]{4}\.", "manager.", path.name)
        for path in run_dir.iterdir()
        if path.suffix in (".log", ".stderr")
    )


def read(run_dir: Path, pattern: str) -> str:
    (path,) = run_dir.glob(pattern)
    return path.read_text()


def test_each_process_of_a_run_has_a_log(manager_inside: bool, arrangement: Arrangement, tmp_path: Path) -> None:
    with umask(0), arrangement.pool(1, run_dir=tmp_path) as pool:
        worker = pool.submit(cheep).result(30)
        assert pool.submit(os._exit, 3).exception(30) is not None
        assert pool.submit(cheep).result(30) != worker
    run = tmp_path / "000"
    manager = "interchange" if manager_inside else "manager"
    assert names(run) == sorted({"interchange.log", f"{manager}.log", f"{manager}.stderr", "parsl_pool.log"})
    assert {mode(path) for path in run.iterdir() if path.is_file()} == {0o600} and mode(run) == 0o700
    for log in (f"{manager}*.log", "interchange.log"):
        text = read(run, log)
        assert f"is up: process {worker} on " in text
        assert re.search(r" WARNING \S+\[\d+\] worker 0 of manager \S+ was lost: exit code 3\n", text)
        assert re.search(r" INFO \S+\[\d+\] worker 1 of manager \S+ has ended: exit code 0\n", text)
    assert re.match(rf"== \S+ \S+ worker 0, process {worker}\ncheep\n", read(run, f"{manager}*.stderr"))


def test_a_run_without_trouble_has_no_warning(arrangement: Arrangement, tmp_path: Path) -> None:
    with arrangement.pool(2, run_dir=tmp_path) as pool:
        assert list(pool.map(abs, range(-20, 0), timeout=30)) == list(range(20, 0, -1))
    for path in (tmp_path / "000").glob("*.log"):
        assert not re.search("WARNING|ERROR", path.read_text()), path


def test_an_interchange_that_takes_the_place_of_another_goes_on_with_the_log(
    arrangement: Arrangement, tmp_path: Path
) -> None:
    with arrangement.pool(1, run_dir=tmp_path, lost_retries=3) as pool:
        before = arrangement.parts(pool).interchange
        before.kill()
        assert pool.submit(abs, -1).result(30) == 1
        after = arrangement.parts(pool).interchange
    begun = re.findall(r"interchange\[(\d+)\] begun", read(tmp_path / "000", "interchange.log"))
    assert begun == [str(before.pid), str(after.pid)]


def without_directory(pool: ParslPoolExecutor, place: Path) -> None:
    """Have its processes log where there is nothing, as on a node that does not see the client's files."""
    link = pool._backend.link
    make = link._settings

    def settings() -> Any:
        made, descriptors = make()
        values = dict(zip(made._fields, made)) | dict.fromkeys(("log_dir", "worker_log_dir"), str(place))
        return type(made)(**values), descriptors

    link._settings = settings


def test_who_cannot_log_says_so_once_and_works(
    manager_inside: bool, arrangement: Arrangement, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING, "parsl_pool")
    with arrangement.new_pool(1, run_dir=tmp_path) as pool:
        without_directory(pool, tmp_path / "not there")
        assert [pool.submit(cheep).result(30) for _ in range(3)]
        told = [] if manager_inside else ["manager"]
        eventually(lambda: sorted(whose(caplog)) == sorted(["the interchange", *told]))
    assert len(whose(caplog)) == len(told) + 1


def whose(caplog: pytest.LogCaptureFixture) -> list[str]:
    """Who has complained of what log it cannot write."""
    texts = [record.getMessage() for record in caplog.records]
    found = [re.search(r": (the interchange|manager) .*cannot write the log .*not there", text) for text in texts]
    return [match[1] for match in found if match is not None]
