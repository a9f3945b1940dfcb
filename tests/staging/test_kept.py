"""Files that are kept: shared, asked for again, gone on with by other processes, removed when there are too many."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor as Threads
from pathlib import Path
from typing import Any

import pytest

from parsl_pool.errors import TransferFailed
from parsl_pool.staging import in_task, locks
from parsl_pool.staging.inputs import Input, with_inputs
from parsl_pool.staging.transfers import by_scheme, lasting
from parsl_pool.staging.transfers.options import Transfer
from tests.eventually import eventually
from tests.services.web_faults import Act, Handler, WebFaults, gives, serves

pytestmark = pytest.mark.timeout(60)

ROOT = Path(__file__).parents[2]
QUICK = Transfer(pause=0.001, longest_pause=2, silence=30, retries=1)
MUCH = 10**9
BODY = bytes(range(256)) * 12_000  # 3 MB: enough to be gone on with

GOES_ON = lasting._boot() != ""
goes_on = pytest.mark.skipif(not GOES_ON, reason="nothing tells one start of this machine from another here")


@pytest.fixture
def server() -> Iterator[WebFaults]:
    with WebFaults() as server:
        yield server
    assert not server.errors


def using(function: Any, url: str, path: Path, most_bytes: int) -> Any:
    return with_inputs(function, (Input(by_scheme.fetch, url, str(path), QUICK, most_bytes),))


def read(url: str, path: Path, most_bytes: int = MUCH) -> bytes:
    return bytes(using(path.read_bytes, url, path, most_bytes))


def place(directory: Path, file: str = "a", use: str = "1") -> Path:
    return directory / file / use / "data.bin"


def names(directory: Path) -> set[str]:
    """All that is there of file `a` but its locks."""
    found = {str(path.relative_to(directory)) for path in directory.rglob("*") if path.is_file()}
    return found - {".room", "a/kept/.fetching", "a/1/.parsl_pool-in-use", "a/2/.parsl_pool-in-use"}


def conditional(body: bytes, tag: str = '"one"') -> Act:
    """A file, for those who do not have it."""

    def act(handler: Handler) -> None:
        if handler.headers.get("If-None-Match") == tag:
            handler.head(304, ETag=tag)
        else:
            serves(body, tag)(handler)

    return act


def test_a_later_use_asks_whether_it_is_still_the_same(server: WebFaults, tmp_path: Path) -> None:
    server.plan("/a", conditional(b"first"))
    one, two = place(tmp_path), place(tmp_path, use="2")
    assert read(server.url("/a"), one) == read(server.url("/a"), two) == b"first"
    assert [request.headers.get("if-none-match") for request in server.requests] == [None, '"one"']
    assert two.stat().st_ino == (tmp_path / "a" / "kept" / "data.bin").stat().st_ino
    assert not one.exists()  # its use was over


def test_who_uses_it_sees_the_same_whatever_becomes_of_the_original(server: WebFaults, tmp_path: Path) -> None:
    one = place(tmp_path)

    def changed() -> tuple[bytes, bytes]:
        server.plan("/a", conditional(b"second", '"two"'))
        return read(server.url("/a"), place(tmp_path, use="2")), one.read_bytes()

    server.plan("/a", conditional(b"first"))
    url = server.url("/a")
    assert using(changed, url, one, MUCH) == (b"second", b"first")


def test_a_date_tells_versions_apart_too(server: WebFaults, tmp_path: Path) -> None:
    server.plan("/a", serves(b"first", None, Last_Modified="Tue, 15 Nov 1994 12:45:26 GMT"), gives(b"", 304))
    assert read(server.url("/a"), place(tmp_path)) == read(server.url("/a"), place(tmp_path, use="2")) == b"first"
    assert server.requests[1].headers["if-modified-since"] == "Tue, 15 Nov 1994 12:45:26 GMT"


@pytest.mark.parametrize("tag", [None, 'W/"one"'])
def test_what_nobody_can_tell_apart_is_brought_anew(tag: "str | None", server: WebFaults, tmp_path: Path) -> None:
    server.plan("/a", serves(b"first", tag), serves(b"second", tag))
    assert read(server.url("/a"), place(tmp_path)) == b"first"
    assert read(server.url("/a"), place(tmp_path, use="2")) == b"second"
    assert names(tmp_path) == {"a/2/data.bin"}


def test_a_task_that_writes_to_its_input_harms_no_other(server: WebFaults, tmp_path: Path) -> None:
    server.plan("/a", conditional(b"first"))
    one, url = place(tmp_path), server.url("/a")
    using(lambda: one.write_bytes(b"mine!"), url, one, MUCH)
    assert read(url, place(tmp_path, use="2")) == b"first"
    assert "if-none-match" not in server.requests[1].headers


def test_names_like_those_that_mean_something_there(server: WebFaults, tmp_path: Path) -> None:
    server.plan("*", conditional(b"first"))
    for name in sorted(lasting.OWN):
        for use in "12":
            assert read(server.url("/a"), tmp_path / name / use / name) == b"first"
    assert sum("if-none-match" in request.headers for request in server.requests) == len(lasting.OWN)


USER = """
import sys
from pathlib import Path
from parsl_pool.staging.inputs import Input, with_inputs
from parsl_pool.staging.transfers import by_scheme
from parsl_pool.staging.transfers.options import Transfer

url, path, most = sys.argv[1:]
options = Transfer(pause=0.001, retries=1)
body = with_inputs(Path(path).read_bytes, (Input(by_scheme.fetch, url, path, options, int(most)),))
print(len(body))
"""


def process(url: str, path: Path, most_bytes: int = MUCH) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-c", USER, url, str(path), str(most_bytes)], cwd=ROOT, stdout=subprocess.PIPE, text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip


def ended(user: "subprocess.Popen[str]") -> str:
    said, _ = user.communicate(timeout=50)
    assert user.returncode == 0
    return said.strip()


def test_processes_that_know_nothing_of_each_other_fetch_it_once(server: WebFaults, tmp_path: Path) -> None:
    go = threading.Event()

    def slow(handler: Handler) -> None:
        go.wait(50)
        serves(BODY)(handler)

    server.plan("/a", slow, conditional(BODY))
    users = [process(server.url("/a"), place(tmp_path, use=use)) for use in "1122"]
    eventually(lambda: server.requests, within=50)
    go.set()
    assert [ended(user) for user in users] == [str(len(BODY))] * 4
    tags = [request.headers.get("if-none-match") for request in server.requests]
    assert tags == [None, *['"one"'] * (len(tags) - 1)] and len(tags) <= 4


def stops(at: int, body: bytes = BODY, tag: str = '"one"') -> Act:
    """Sends so much, and then nothing."""

    def act(handler: Handler) -> None:
        handler.head(200, ETag=tag, Content_Length=len(body))
        handler.wfile.write(body[:at])
        handler.wait()

    return act


def killed_at(server: WebFaults, directory: Path, at: int) -> None:
    """A process has begun to fetch it, and was killed when so much had come."""
    server.plan("/a", stops(at))
    user = process(server.url("/a"), place(directory))
    part = directory / "a" / "kept" / ".part"
    eventually(lambda: server.requests and (at == 0 or part.stat().st_size == at), within=50)
    user.send_signal(signal.SIGKILL)
    user.communicate()
    assert not place(directory).exists() and not (directory / "a" / "kept" / "data.bin").exists()


@goes_on
@pytest.mark.parametrize("at", [0, 1, 1_000_000, len(BODY) - 1, len(BODY)])
def test_another_process_goes_on_where_a_killed_one_was(at: int, server: WebFaults, tmp_path: Path) -> None:
    killed_at(server, tmp_path, at) if at < len(BODY) else killed_after_all_came(server, tmp_path)
    server.plan("/a", serves(BODY))
    use = place(tmp_path, use="2")  # of another program
    assert read(server.url("/a"), use) == BODY
    asked = server.requests[-1].headers
    assert (asked.get("range"), asked.get("if-range")) == ((f"bytes={at - 1}-", '"one"') if at > 1 else (None, None))
    assert names(tmp_path) == {"a/kept/data.bin", "a/2/data.bin"}


def killed_after_all_came(server: WebFaults, directory: Path) -> None:
    killed_at(server, directory, len(BODY) - 1)
    (directory / "a" / "kept" / ".part").write_bytes(BODY)


@goes_on
def test_it_begins_anew_if_the_original_has_changed(server: WebFaults, tmp_path: Path) -> None:
    killed_at(server, tmp_path, 1_000_000)
    server.plan("/a", serves(BODY[::-1], '"two"'))
    assert read(server.url("/a"), place(tmp_path)) == BODY[::-1]
    assert [request.headers.get("if-range") for request in server.requests] == [None, '"one"']
    assert names(tmp_path) == {"a/kept/data.bin", "a/1/data.bin"}


def test_a_part_of_another_start_of_the_machine_is_not_gone_on_with(
    server: WebFaults, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    killed_at(server, tmp_path, 1_000_000)
    monkeypatch.setattr(lasting, "_boot", lambda: "another one")
    server.plan("/a", serves(BODY))
    assert read(server.url("/a"), place(tmp_path)) == BODY and "range" not in server.requests[-1].headers


def test_what_says_of_which_version_a_part_is_may_be_torn(server: WebFaults, tmp_path: Path) -> None:
    killed_at(server, tmp_path, 1_000_000)
    said = tmp_path / "a" / "kept" / ".part-of"
    said.write_bytes(said.read_bytes()[:-3])
    server.plan("/a", serves(BODY))
    assert read(server.url("/a"), place(tmp_path)) == BODY and "range" not in server.requests[-1].headers


def test_a_part_that_somebody_still_writes_is_left_to_him(server: WebFaults, tmp_path: Path) -> None:
    kept = tmp_path / "a" / "kept"
    kept.mkdir(parents=True)
    server.plan("/a", serves(BODY))
    with open(kept / ".part", "wb") as part:
        part.write(b"his")
        part.flush()
        assert lasting.is_mine(part.fileno())
        assert read(server.url("/a"), place(tmp_path)) == BODY
        assert (kept / ".part").read_bytes() == b"his"
    server.plan("/a", serves(BODY, '"two"'))
    assert read(server.url("/a"), place(tmp_path, use="2")) == BODY
    assert names(tmp_path) == {"a/kept/data.bin", "a/2/data.bin"}


@goes_on
def test_a_fetch_that_fails_leaves_a_part_only_if_it_is_of_use(server: WebFaults, tmp_path: Path) -> None:
    server.plan("/a", gives(b"no", 404))
    with pytest.raises(TransferFailed):
        read(server.url("/a"), place(tmp_path))
    assert not (tmp_path / "a").exists()
    server.plan("/a", serves(BODY, cut_after=1_500_000))
    with pytest.raises(TransferFailed, match="cut in the middle"):
        read(server.url("/a"), place(tmp_path))
    server.plan("/a", serves(BODY))
    assert read(server.url("/a"), place(tmp_path)) == BODY
    assert server.requests[-1].headers["range"] == "bytes=2999999-"  # two tries, half a file each, and the last byte


def test_what_a_fetch_of_other_make_has_left_is_removed(tmp_path: Path) -> None:
    kept = tmp_path / "a" / "kept"
    (kept / "folder").mkdir(parents=True)
    (kept / "folder" / "x").touch()
    (kept / ".x.1234.part").touch()

    def fetch(url: str, target: Path, options: Any) -> None:
        target.write_bytes(b"text")

    one = Input(fetch, "odd:a", str(place(tmp_path)), None, MUCH)
    assert with_inputs(place(tmp_path).read_bytes, (one,)) == b"text"
    assert names(tmp_path) == {"a/1/data.bin"}


def test_a_fetch_that_brings_nothing_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(TransferFailed, match="odd:a: could not be brought to .*data.bin: whoever should fetch it"):
        with_inputs(abs, (Input(lambda *_: None, "odd:a", str(place(tmp_path)), None, MUCH),), 1)
    assert not (tmp_path / "a").exists()


def test_a_directory_that_can_t_be_written_to_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    path = place(tmp_path / "file")
    with pytest.raises(TransferFailed, match=f"^odd:a: could not be brought to {path}: {tmp_path}/file can't be "):
        with_inputs(abs, (Input(lambda *_: None, "odd:a", str(path), None, MUCH),), 1)


@pytest.mark.parametrize(
    "options, weak",
    [
        ("rw,relatime,vers=4.2,local_lock=none", False), ("rw,vers=3,local_lock=flock,addr=10.0.0.1", True),
        ("rw,vers=3,nolock", True), ("rw,flock", False), ("rw,localflock", True), ("rw,nobrl", True), ("", False),
    ],
)  # fmt: skip
def test_locks_that_each_host_has_for_itself(options: str, weak: bool) -> None:
    assert locks.is_weak(options) is weak


def test_where_there_are_no_locks_each_use_fetches_for_itself(
    server: WebFaults, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(locks._good, os.stat(tmp_path).st_dev, False)
    server.plan("/a", serves(b"first"))
    with Threads(4) as threads:
        read_one = lambda use: read(server.url("/a"), place(tmp_path, use=use), 0)  # noqa: E731
        assert set(threads.map(read_one, "1122")) == {b"first"}
    assert names(tmp_path) == {"a/1/data.bin", "a/2/data.bin"}


def test_the_system_s_locks_are_good_here(tmp_path: Path) -> None:
    assert locks.are_good(str(tmp_path))


def test_what_is_brought_ahead_waits_for_its_task_if_there_is_room(server: WebFaults, tmp_path: Path) -> None:
    server.plan("*", conditional(BODY))

    def ahead(file: str) -> None:
        path = str(place(tmp_path, file))
        in_task.fetched(by_scheme.fetch, server.url(f"/{file}"), path, QUICK, 2 * len(BODY) + 10_000)

    for file in "abcd":
        ahead(file)
    assert [place(tmp_path, file).exists() for file in "abcd"] == [True, True, True, False]
    asked = len(server.requests)
    for file in "ab":  # these tasks come at last, and are done
        assert read(server.url(f"/{file}"), place(tmp_path, file)) == BODY
    assert len(server.requests) == asked == 3
    ahead("d")
    assert [place(tmp_path, file).exists() for file in "abcd"] == [False, False, True, True]
    assert read(server.url("/e"), place(tmp_path, "e"), 0) == BODY  # whoever needs it now goes before them
    assert [place(tmp_path, file).exists() for file in "abcde"] == [False, False, False, False, True]
