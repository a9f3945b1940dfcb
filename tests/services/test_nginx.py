"""What a real web server does, rather than one of the tests' own: cuts, refusals, logins, certificates."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from parsl_pool.errors import TransferFailed
from parsl_pool.staging import Transfer
from parsl_pool.staging.transfers import web, web_kept
from parsl_pool.staging.transfers.local_files import Landing
from tests.eventually import eventually
from tests.services import nginx
from tests.services.certificates import Authority
from tests.services.nginx import Nginx

pytestmark = [pytest.mark.service, pytest.mark.timeout(90)]

MANY = 30_000_000  # bytes: more than the buffers of a connection hold
USUAL = Transfer(pause=0.001, retries=3)


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


@pytest.fixture
def server(authority: Authority, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Nginx]:
    """One of the test's own, for some are cut."""
    if reason := nginx.why_not():
        pytest.skip(reason)
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    server = Nginx(tmp_path / "nginx", authority.sign())
    yield server
    web_kept.end()  # connections would end by themselves; nobody waits for that
    server.stop()


def failure(carry: Callable[..., None], *arguments: Any) -> str:
    with pytest.raises(TransferFailed) as raised:
        carry(*arguments)
    return str(raised.value)


def test_a_download_that_was_cut_goes_on_where_it_was(
    server: Nginx, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    body = os.urandom(MANY)
    (server.folder / "many").write_bytes(body)
    os.utime(server.folder / "many", (1e9, 1e9))
    sizes: list[int] = []
    write = Landing.write

    def cut_once(landing: Landing, piece: bytes) -> None:
        write(landing, piece)
        if not sizes:
            server.cut()
        sizes.append(landing.size)

    monkeypatch.setattr(Landing, "write", cut_once)
    (tmp_path / "here").mkdir()
    web.fetch(server.url("many"), tmp_path / "here" / "many", USUAL)
    assert (tmp_path / "here" / "many").read_bytes() == body
    assert sizes == sorted(sizes), "it never began anew"
    assert eventually(lambda: "GET 206 /many" in server.requests())  # it writes that a moment later
    assert "GET 200 /many" not in server.requests()


def test_a_file_that_changes_while_it_was_cut_is_fetched_anew(
    server: Nginx, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (server.folder / "changes").write_bytes(os.urandom(MANY))
    write = Landing.write
    cuts: list[int] = []

    def cut_once(landing: Landing, piece: bytes) -> None:
        write(landing, piece)
        if not cuts:
            (server.folder / "new").write_bytes(b"another one")
            os.replace(server.folder / "new", server.folder / "changes")
            server.cut()
            cuts.append(landing.size)

    monkeypatch.setattr(Landing, "write", cut_once)
    web.fetch(server.url("changes"), tmp_path / "changes", USUAL)
    assert (tmp_path / "changes").read_bytes() == b"another one" and cuts
    assert eventually(lambda: "GET 200 /changes" in server.requests())  # it writes that a moment later


@pytest.mark.parametrize("size", [2000, MANY])
def test_a_server_that_wants_no_more_says_so(size: int, server: Nginx, tmp_path: Path) -> None:
    (tmp_path / "source").write_bytes(bytes(size))
    said = failure(web.send, tmp_path / "source", server.url("small/x"), USUAL)
    assert "HTTP 413 Request Entity Too Large" in said and "tried" not in said
    assert not (server.folder / "small").exists()


def test_a_large_file_is_sent_where_the_server_sends_us_on(server: Nginx, tmp_path: Path) -> None:
    body = os.urandom(MANY)
    (tmp_path / "source").write_bytes(body)
    web.send(tmp_path / "source", server.url("moved/here%20it%20is"), USUAL)
    assert (server.folder / "here it is").read_bytes() == body


def test_who_has_no_password_or_a_wrong_one_is_told(server: Nginx, tmp_path: Path) -> None:
    (server.folder / "private").mkdir(exist_ok=True)
    (server.folder / "private" / "x").write_text("x")
    for user in "", "me:sesame-open@":
        said = failure(web.fetch, server.url("private/x", user=user), tmp_path / "x", USUAL)
        assert "HTTP 401 Unauthorized" in said and "sesame" not in said


def test_an_authority_that_is_not_known_is_not_trusted(server: Nginx, authority: Authority, tmp_path: Path) -> None:
    (server.folder / "x").write_text("x")
    said = failure(web.fetch, server.url("x", "https"), tmp_path / "x", USUAL)
    assert "certificate" in said and "ca_file=" in said and "tried" not in said
    web.fetch(server.url("x", "https"), tmp_path / "x", Transfer(ca_file=str(authority.file)))
    assert (tmp_path / "x").read_text() == "x"


def connections_of(server: Nginx) -> list[str]:
    """The number of the connection of each request."""
    return (server.place / "connections").read_text().split()


def test_one_connection_serves_many_files(server: Nginx, tmp_path: Path) -> None:
    for number in range(20):
        (server.folder / f"few{number}").write_text(str(number))
        web.fetch(server.url(f"few{number}"), tmp_path / f"few{number}", USUAL)
        assert (tmp_path / f"few{number}").read_text() == str(number)
    assert eventually(lambda: len(connections_of(server)) == 20)  # it writes that a moment later
    assert len(set(connections_of(server))) == 1
