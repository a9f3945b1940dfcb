"""Connections to web servers that are used again."""

import os
import socket
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from parsl_pool.staging.transfers import web_kept
from parsl_pool.staging.transfers.options import Transfer
from parsl_pool.staging.transfers.web import fetch, send
from parsl_pool.staging.transfers.web_connections import Connections, End
from parsl_pool.staging.transfers.web_wire import Wire
from tests.eventually import eventually
from tests.services.certificates import Authority
from tests.services.web_faults import Act, Handler, WebFaults, chunked, gives, serves, takes
from tests.staging.transfers.conftest import QUICK

pytestmark = pytest.mark.timeout(60)

ROOT = Path(__file__).parents[3]


def test_files_come_over_one_connection_one_after_the_other(server: WebFaults, folder: Path) -> None:
    for number in range(20):
        server.plan(f"/{number}", serves(b"%d" % number))
        fetch(server.url(f"/{number}"), folder / str(number), QUICK)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == {
        str(number): b"%d" % number for number in range(20)
    }
    assert server.connections == 1 and len(server.requests) == 20


def test_threads_share_no_connection_at_the_same_time(server: WebFaults, folder: Path) -> None:
    server.plan("*", *[serves(b"x" * size) for size in range(200)])
    with ThreadPoolExecutor(4) as threads:
        list(threads.map(lambda name: fetch(server.url(f"/{name}"), folder / name, QUICK), map(str, range(200))))
    assert sorted(path.stat().st_size for path in folder.iterdir()) == [*range(200)]
    assert server.connections <= 4 and len(server.requests) == 200


def test_what_is_sent_and_what_comes_use_the_same_one(server: WebFaults, folder: Path) -> None:
    came: list[bytes] = []
    server.plan("/data", chunked(b"abc", b"d" * 10_000))
    server.plan("/new", takes(came))
    for _ in range(2):
        fetch(server.url("/data"), folder / "x", QUICK)
        send(folder / "x", server.url("/new"), QUICK)
    assert came == [b"abc" + b"d" * 10_000] * 2 and server.connections == 1


def test_one_that_the_server_has_ended_is_no_failure(server: WebFaults, folder: Path) -> None:
    server.plan("/data", serves(b"x"))
    for number in range(3):
        fetch(server.url("/data"), folder / str(number), QUICK)
        server.cut_all()
    assert len(server.requests) == 3 and server.connections == 3 and len(list(folder.iterdir())) == 3


def test_one_that_the_server_ends_at_the_next_request_is_no_failure(server: WebFaults, folder: Path) -> None:
    def ends(handler: Handler) -> None:
        handler.cut()

    server.plan("/data", serves(b"one"), ends, serves(b"two"))
    for _ in range(2):
        fetch(server.url("/data"), folder / "x", Transfer(retries=0))
    assert (folder / "x").read_bytes() == b"two" and len(server.requests) == 3


def says_more(handler: Handler) -> None:
    handler.head(200, Content_Length=1)
    handler.wfile.write(b"xHTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nwrong")


@pytest.mark.parametrize(
    "act",
    [
        gives(b"x", Connection="close"),
        gives(b"x", 200, Connection="Foo, Close"),
        says_more,
        chunked(b"x", b""),  # an empty chunk is the last one, and so this says more, too
    ],
    ids=["close", "close among others", "more", "more chunks"],
)
def test_one_that_can_not_be_used_again_is_not(act: Act, server: WebFaults, folder: Path) -> None:
    server.plan("/data", act)
    server.plan("/next", serves(b"next"))
    fetch(server.url("/data"), folder / "x", QUICK)
    fetch(server.url("/next"), folder / "next", QUICK)
    assert (folder / "x").read_bytes() == b"x" and (folder / "next").read_bytes() == b"next"
    assert server.connections == 2


def test_other_options_and_other_proxies_have_others(
    server: WebFaults, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = web_kept.connections(QUICK)
    assert web_kept.connections(QUICK) is one and web_kept.connections(Transfer(silence=31)) is not one
    monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{server.port}")
    assert web_kept.connections(QUICK) is not one
    server.plan("http://data.example/x", serves(b"x"))
    fetch("http://data.example/x", folder / "x", QUICK)
    assert len(server.requests) == 1


def test_tls_is_agreed_upon_once(authority: Authority, folder: Path) -> None:
    options = Transfer(ca_file=str(authority.file), pause=0)
    with WebFaults(authority.context()) as secure:
        secure.plan("/data", serves(b"x" * 100_000))
        for number in range(5):
            fetch(secure.url("/data"), folder / str(number), options)
        assert secure.connections == 1 and len(secure.requests) == 5
        web_kept.end()


def test_nothing_is_left_a_while_after_the_last_transfer(
    server: WebFaults, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(web_kept, "KEPT_S", 0.05)
    server.plan("/data", serves(b"x"))
    before = set(threading.enumerate())
    fetch(server.url("/data"), folder / "x", QUICK)
    others = [thread for thread in set(threading.enumerate()) - before if thread.name == "parsl-pool-kept"]
    for thread in others:
        thread.join(30)
        assert not thread.is_alive()
    eventually(lambda: server.open_connections == 0)


def ends_of(connections: Connections, count: int) -> list[tuple[End, socket.socket]]:
    made = []
    for number in range(count):
        end = End("http", f"host{number}", 80, None)
        mine, other = socket.socketpair()
        connections.keep(end, Wire(mine))
        made.append((end, other))
    return made


def test_no_more_are_kept_than_a_few(folder: Path) -> None:
    with Connections(QUICK) as connections:
        made = ends_of(connections, 40)
        kept = [wire for end, _ in made if (wire := connections.kept(end)) is not None]
        assert len(kept) == 16 and connections.kept(made[0][0]) is None
        for wire in kept:
            wire.close()
        for _, other in made:
            assert other.recv(1) == b""
            other.close()


def test_after_the_end_none_is_kept() -> None:
    connections = Connections(QUICK)
    connections.close()
    ((end, other),) = ends_of(connections, 1)
    assert other.recv(1) == b"" and connections.kept(end) is None
    other.close()


FORK = """
import os, sys
from pathlib import Path
from parsl_pool.staging.transfers import web_kept
from parsl_pool.staging.transfers.web import fetch

web_kept.KEPT_S = 600.0
url, target = sys.argv[1] + "/data", Path(sys.argv[2])
fetch(url, target)
child = os.fork()
fetch(url, target)
if not child:
    os._exit(0)
assert os.waitpid(child, 0)[1] == 0
fetch(url, target)
"""


def test_a_forked_child_has_connections_of_its_own(server: WebFaults, folder: Path) -> None:
    server.plan("/data", serves(b"x" * 1000))
    subprocess.run(
        [sys.executable, "-c", FORK, server.url(""), str(folder / "x")], check=True, timeout=50, cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert len(server.requests) == 4 and server.connections == 2


def test_a_thread_that_could_not_be_started_is_started_for_the_next_one(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", fails)
        with pytest.raises(RuntimeError, match="new thread"):
            web_kept.connections(QUICK)
    web_kept.connections(QUICK)
    assert [thread for thread in threading.enumerate() if thread.name == "parsl-pool-kept"]
    web_kept.end()
