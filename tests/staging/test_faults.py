"""The table of faults: what may go wrong when a file is brought, by both ways, on each kind of executor.

In each: the error names the file and has the words of whoever refused; there is no half file under the final name, and
nothing else of it either; nothing hangs; the pool goes on, and the same file is brought once it is well again.
"""

from __future__ import annotations

import shutil
import threading
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

import parsl_pool
from parsl_pool import Config, File, ParslPoolExecutor, python_app
from parsl_pool.errors import DependencyError, StagingError, TransferFailed
from parsl_pool.staging import (
    HTTPInTaskStaging,
    HTTPSeparateTaskStaging,
    NoOpFileStaging,
    Staging,
    Transfer,
    ZipFileStaging,
)
from tests import leaks
from tests.services.certificates import Authority
from tests.services.web_faults import Act, Handler, WebFaults, falls_silent, gives, hangs_up, serves, takes
from tests.staging.conftest import KINDS

pytestmark = pytest.mark.timeout(60)

BODY = bytes(range(256)) * 400
HALF = len(BODY) // 2
WORDS = b"these are the server's words"


class _ForSlowOnes(Staging):
    """With little patience, which the others must not lack on a machine that has much to do."""

    def can_stage_in(self, file: File) -> bool:
        return "slow" in file.filename and super().can_stage_in(file)

    def can_stage_out(self, file: File) -> bool:
        return "slow" in file.filename and super().can_stage_out(file)


class ImpatientSeparate(_ForSlowOnes, HTTPSeparateTaskStaging):
    pass


class ImpatientInTask(_ForSlowOnes, HTTPInTaskStaging):
    pass


PATIENT = Transfer(pause=0.001, retries=1)
IMPATIENT = Transfer(silence=0.2, retries=0)
WAYS: dict[str, Callable[[], list[Staging]]] = {
    "separate": lambda: [ImpatientSeparate(IMPATIENT), HTTPSeparateTaskStaging(PATIENT)],
    "in task": lambda: [ImpatientInTask(IMPATIENT), HTTPInTaskStaging(PATIENT)],
}


@pytest.fixture(scope="module")
def pool(kind: str, way: str, working: Path) -> Iterator[ParslPoolExecutor]:
    """Whatever is tried on it, it goes on: it is the same one for all faults."""
    storage = [NoOpFileStaging(), *WAYS[way](), ZipFileStaging()]
    executor = KINDS[kind](storage_access=storage, working_dir=working)
    with leaks.keeping("the module's pool"), parsl_pool.load(Config([executor], run_dir=None)) as pool:
        yield pool
    parsl_pool.clear()
    assert not [path for path in working.rglob("*") if path.name.endswith(".part")]


@pytest.fixture(autouse=True)
def no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of those that this machine may have."""
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


@pytest.fixture
def server() -> Iterator[WebFaults]:
    with WebFaults() as server:
        yield server


@pytest.fixture(scope="module")
def secure(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WebFaults]:
    """A server whose certificate is signed by nobody that is known."""
    authority = Authority(tmp_path_factory.mktemp("authority"))
    with leaks.keeping("a server"), WebFaults(authority.context()) as server:
        yield server


@python_app
def size_of(file: File) -> int:
    return Path(file).stat().st_size


@python_app
def write(text: str, outputs: tuple[File, ...] = ()) -> None:
    for output in outputs:
        Path(output).write_text(text)


@python_app
def write_much(size: int, outputs: tuple[File, ...] = ()) -> None:
    with open(outputs[0], "wb") as file:
        file.truncate(size)


class Fault(NamedTuple):
    """What the server does each time, and what the error says of that: one of these, between bars."""

    act: Act
    words: str
    name: str = "data"  # of the file


def files_in(working: Path) -> set[Path]:
    """All that may be a file, or half of one: what is noted about files is shorter."""
    return {path for path in working.rglob("*") if path.is_file() and path.stat().st_size > 1000}


def is_told(error: BaseException | None, url: str, words: str) -> None:
    """The error names the file, and says what was wrong, in the words of whoever did."""
    assert isinstance(error, (TransferFailed, DependencyError)), repr(error)
    assert isinstance(getattr(error, "root_cause", error), TransferFailed)
    assert url in str(error) and any(each in str(error) for each in words.split(" | ")), str(error)


def again(server: WebFaults, name: str, act: Act) -> str:
    """The URL of the same file, now that it is well; of another one if too little patience might spoil that."""
    name = name.replace("slow", "after")
    server.plan(f"/{name}", act)
    return server.url(f"/{name}")


COMING: dict[str, Fault] = {
    "slow to answer": Fault(falls_silent(status=None), "it does not answer in time", "slow"),
    "slow in the middle": Fault(
        falls_silent(BODY[:HALF]), "it does not answer in time | next to nothing came", "slow"
    ),
    "cut in the middle": Fault(serves(BODY, None, cut_after=HALF), f"{HALF} of {len(BODY)} bytes are missing"),
    "wrong length": Fault(gives(BODY, Content_Length=len(BODY) + 4), f"4 of {len(BODY) + 4} bytes are missing"),
    "wrong checksum": Fault(serves(BODY, Content_MD5="AAAAAAAAAAAAAAAAAAAAAA=="), "of what came is "),
    "hangs up": Fault(hangs_up, "(tried 2 times)"),
    "400": Fault(gives(WORDS, 400), f"HTTP 400 Bad Request: {WORDS.decode()}"),
    "403": Fault(gives(WORDS, 403), f"HTTP 403 Forbidden: {WORDS.decode()}"),
    "404": Fault(gives(WORDS, 404), f"HTTP 404 Not Found: {WORDS.decode()}"),
    "500": Fault(gives(WORDS, 500), f"HTTP 500 Internal Server Error: {WORDS.decode()} (tried 2 times)"),
}


@pytest.mark.parametrize("fault", COMING)
def test_a_file_that_can_t_come(fault: str, pool: ParslPoolExecutor, server: WebFaults, working: Path) -> None:
    act, words, name = COMING[fault]
    before = files_in(working)
    server.plan(f"/{name}", act)
    url = server.url(f"/{name}")
    is_told(size_of(File(url)).exception(30), url, words)
    assert files_in(working) == before
    well = again(server, name, serves(b"well"))
    assert size_of(File(well)).result(30) == 4


def test_a_file_of_a_server_that_is_down(pool: ParslPoolExecutor, working: Path) -> None:
    before = files_in(working)
    with WebFaults() as server:
        url = server.url("/data")
    is_told(size_of(File(url)).exception(30), url, f"cannot connect to 127.0.0.1:{server.port}: Connection refused")
    is_told(write("x", outputs=[File(url)]).outputs[0].exception(30), url, "Connection refused")
    assert files_in(working) == before
    assert pool.submit(abs, -3).result(30) == 3


def test_a_file_of_a_server_with_a_certificate_that_is_not_valid(
    pool: ParslPoolExecutor, secure: WebFaults, working: Path
) -> None:
    before = files_in(working)
    url = secure.url("/data")
    is_told(size_of(File(url)).exception(30), url, "its certificate is not valid: ")
    assert files_in(working) == before
    is_told(write("x", outputs=[File(url)]).outputs[0].exception(30), url, "its certificate is not valid: ")
    assert not secure.requests and pool.submit(abs, -3).result(30) == 3


def test_a_server_in_trouble_that_passes(pool: ParslPoolExecutor, server: WebFaults) -> None:
    came: list[bytes] = []
    server.plan("/in", gives(WORDS, 500), serves(BODY))
    server.plan("/out", gives(WORDS, 500), takes(came))
    assert size_of(File(server.url("/in"))).result(30) == len(BODY)
    write("text", outputs=[File(server.url("/out"))]).outputs[0].result(30)
    assert came == [b"text"]


def test_a_file_that_is_another_one_by_the_second_try(pool: ParslPoolExecutor, server: WebFaults) -> None:
    server.plan("/data", serves(BODY, '"one"', cut_after=HALF), serves(b"new", '"two"'))
    assert size_of(File(server.url("/data"))).result(30) == 3


GOING: dict[str, Fault] = {
    "slow": Fault(falls_silent(status=None), "it does not answer in time", "slow"),
    "hangs up": Fault(hangs_up, "(tried 2 times)"),
    "403": Fault(gives(WORDS, 403), f"HTTP 403 Forbidden: {WORDS.decode()}"),
    "a folder that is missing": Fault(gives(WORDS, 409), f"HTTP 409 Conflict: {WORDS.decode()}"),
    "disk full there": Fault(gives(WORDS, 507), f"HTTP 507 Insufficient Storage: {WORDS.decode()}"),
    "500": Fault(gives(WORDS, 500), f"HTTP 500 Internal Server Error: {WORDS.decode()} (tried 2 times)"),
}


@pytest.mark.parametrize("fault", GOING)
def test_a_file_that_can_t_go(fault: str, pool: ParslPoolExecutor, server: WebFaults, way: str) -> None:
    act, words, name = GOING[fault]
    server.plan(f"/{name}", act)
    url = server.url(f"/{name}")
    future = write("text", outputs=[File(url)])
    is_told(future.outputs[0].exception(30), url, words)
    is_told(size_of(future.outputs[0]).exception(30), url, words)
    assert (future.exception(30) is None) == (way == "separate")  # else it was a part of the task
    came: list[bytes] = []
    well = again(server, name, takes(came))
    write("well", outputs=[File(well)]).outputs[0].result(30)
    assert came == [b"well"]


def test_a_file_that_changes_while_it_is_sent(pool: ParslPoolExecutor, server: WebFaults, working: Path) -> None:
    def changes_it(handler: Handler) -> None:
        handler.rfile.read(1000)
        (path,) = working.rglob("changes")
        with path.open("ab") as file:
            file.truncate(60_000_000)
        while handler.connection.recv(1 << 20):
            pass

    server.plan("/changes", changes_it)
    url = server.url("/changes")
    future = write_much(50_000_000, outputs=[File(url)])  # more than fits into any buffer on the way
    is_told(future.outputs[0].exception(30), url, "it was changed while it was read")
    for path in working.rglob("changes"):
        path.unlink()
    assert pool.submit(abs, -3).result(30) == 3


def test_two_tasks_that_would_write_one_file(pool: ParslPoolExecutor, server: WebFaults) -> None:
    came: list[bytes] = []
    gate = threading.Event()

    def takes_later(handler: Handler) -> None:
        gate.wait(30)
        takes(came)(handler)

    server.plan("/data", takes_later)
    one = write("one", outputs=[File(server.url("/data"))])
    with pytest.raises(StagingError, match=rf"{server.url('/data')}' is being written by task \d+ \(write\)"):
        write("two", outputs=[File(server.url("/data"))])
    gate.set()
    one.outputs[0].result(30)  # by then nobody writes it
    write("two", outputs=[File(server.url("/data"))]).outputs[0].result(30)
    assert came == [b"one", b"two"]


@pytest.mark.parametrize("path", ["/..", "/a/../..", "/.", "/a/", "/%2e%2e", "/..%2fup", "/a/..?b=/../c"])
def test_a_name_that_leads_out_of_the_working_directory_does_not(
    path: str, pool: ParslPoolExecutor, server: WebFaults, working: Path
) -> None:
    around = set(working.parent.iterdir())
    server.plan("*", serves(b"well"))
    assert size_of(File(server.url(path))).result(30) == 4
    assert set(working.parent.iterdir()) <= {*around, working}


def test_a_member_of_a_zip_file_that_leads_elsewhere(pool: ParslPoolExecutor, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("../up", "secret")
    for file in (File(f"zip:{tmp_path}/a.zip/../up"), File(f"zip:{tmp_path}/a.zip/in/../../up")):
        with pytest.raises(StagingError, match="a member's name has no empty part, '.' or '..'"):
            size_of(file)
        with pytest.raises(StagingError, match="a member's name has no empty part, '.' or '..'"):
            write("x", outputs=[file])
    assert [path.name for path in tmp_path.iterdir()] == ["a.zip"] and pool.submit(abs, -3).result(30) == 3
def test_a_name_that_is_too_long_for_a_file_system(pool: ParslPoolExecutor, server: WebFaults) -> None:
    server.plan("*", serves(b"well"))
    url = server.url("/" + "x" * 300)
    assert size_of(File(url)).result(30) == 4


def test_a_working_directory_that_can_t_be_made(kind: str, way: str, server: WebFaults, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    storage: list[Any] = [*WAYS[way]()]
    executor = KINDS[kind](storage_access=storage, working_dir=tmp_path / "file" / "working")
    server.plan("/data", serves(BODY))
    url = server.url("/data")
    with ParslPoolExecutor(Config([executor], run_dir=None)) as pool:
        is_told(pool.submit(size_of.func, File(url)).exception(30), url, "Not a directory")
        (tmp_path / "file").unlink()
        assert pool.submit(size_of.func, File(url)).result(30) == len(BODY)
        shutil.rmtree(tmp_path / "file")  # somebody clears up meanwhile
        assert pool.submit(size_of.func, File(url)).result(30) == len(BODY)
