"""Files of FTP servers, with and without TLS: a real server, and what it may do wrong."""

import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from parsl_pool.errors import ConfigurationError, TransferFailed
from parsl_pool.staging.transfers.ftp import fetch, send
from parsl_pool.staging.transfers.options import Transfer
from tests.services.certificates import Authority
from tests.services.ftp_server import PASSWORD, USER, FtpServer, Options
from tests.staging.transfers.conftest import BODY, QUICK

pytest.importorskip("pyftpdlib", reason="no pyftpdlib: nothing of FTP is tested (it is in the extra 'test')")
pytestmark = pytest.mark.timeout(60)

ME = f"{USER}:{PASSWORD}@"

Start = Callable[..., FtpServer]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Starts servers."""
    started: list[FtpServer] = []

    def new(**options: Any) -> FtpServer:
        started.append(FtpServer(tmp_path / f"ftp{len(started)}", Options(**options)))
        (started[-1].folder / "data").write_bytes(BODY)
        return started[-1]

    yield new
    for server in started:
        server.stop()


def of_fetch(url: str, target: Path, options: Transfer = QUICK) -> str:
    with pytest.raises(TransferFailed) as raised:
        fetch(url, target, options)
    assert not list(target.parent.iterdir())
    return str(raised.value)


def test_a_file_comes_whole(start: Start, target: Path) -> None:
    server = start()
    fetch(server.url("data"), target, QUICK)
    assert target.read_bytes() == BODY and list(target.parent.iterdir()) == [target]


@pytest.mark.parametrize("name", ["a b", "größe", "a#b?c%d", "-x", "a'b"])
def test_a_file_of_any_name_comes_and_goes(name: str, start: Start, target: Path, source: Path) -> None:
    server = start()
    url = server.url(quote(name), ME)
    send(source, url, QUICK)
    assert (server.folder / name).read_bytes() == BODY
    fetch(url, target, QUICK)
    assert target.read_bytes() == BODY


def test_what_was_cut_goes_on_where_it_was(start: Start, target: Path) -> None:
    server = start(cut_after=400_000, cuts=2)
    fetch(server.url("data"), target, QUICK)
    assert target.read_bytes() == BODY
    begins = [command for command in server.commands() if command.startswith("REST")]
    assert len(begins) == 2 and 0 < int(begins[0].split()[1]) < int(begins[1].split()[1])


def test_a_file_that_changed_meanwhile_comes_from_its_start(start: Start, target: Path) -> None:
    server = start(cut_after=400_000, cuts=1, change="new")
    fetch(server.url("data"), target, QUICK)
    assert target.read_text() == "new"
    assert not [command for command in server.commands() if command.startswith("REST")]


@pytest.mark.parametrize("without", [["REST"], ["MDTM"], ["SIZE"], ["SIZE", "MDTM", "REST"]])
def test_a_server_that_knows_less_still_gives_whole_files(without: list[str], start: Start, target: Path) -> None:
    server = start(cut_after=400_000, cuts=1, without=without)
    fetch(server.url("data"), target, QUICK)
    assert target.read_bytes() == BODY


def test_a_server_that_has_too_many_clients_is_asked_again(start: Start, target: Path) -> None:
    fetch(start(busy=2).url("data"), target, QUICK)
    assert target.read_bytes() == BODY
    target.unlink()
    assert "the server says: 421 Too many of you. (tried 3 times)" in of_fetch(start(busy=9).url("data"), target)


def test_what_is_not_there_is_said_at_once(start: Start, target: Path) -> None:
    server = start()
    text = of_fetch(server.url("none"), target)
    assert text.startswith(f"{server.url('none')}: could not be fetched to {target}: the server says: 550 ")
    assert len([command for command in server.commands() if command.startswith("RETR")]) == 1


def test_a_wrong_password_is_refused_and_not_told(start: Start, target: Path) -> None:
    text = of_fetch(start().url("data", "me:sesame-open@"), target)
    assert "530 " in text and "sesame" not in text and "ftp://me:***@127.0.0.1" in text


def test_who_may_not_write_is_told(start: Start, source: Path) -> None:
    server = start()
    with pytest.raises(TransferFailed, match="source could not be sent there: the server says: 550 "):
        send(source, server.url("new"), QUICK)
    assert [path.name for path in server.folder.iterdir()] == ["data"]


def test_a_directory_that_is_missing_there_is_said(start: Start, source: Path) -> None:
    server = start()
    with pytest.raises(TransferFailed, match="the server says: 550 "):
        send(source, server.url("none/new", ME), QUICK)


def test_a_file_is_sent_under_another_name_until_it_is_whole(start: Start, source: Path) -> None:
    server = start()
    (server.folder / "new").write_text("old")
    send(source, server.url("new", ME), QUICK)
    assert (server.folder / "new").read_bytes() == BODY
    assert sorted(path.name for path in server.folder.iterdir()) == ["data", "new"]
    words = [command.split()[0] for command in server.commands()]
    assert words == ["STOR", "SIZE", "MDTM", "RNFR", "RNTO"]


def test_tls_is_verified_and_all_is_encrypted(start: Start, authority: Authority, target: Path, source: Path) -> None:
    pytest.importorskip("OpenSSL", reason="no pyOpenSSL: FTP over TLS is not tested (it is in the extra 'test')")
    server = start(certificate=str(authority.sign()))
    text = of_fetch(server.url("data"), target, QUICK)
    assert "its certificate is not valid: " in text and "ca_file=" in text and "tried" not in text
    trusting = Transfer(ca_file=str(authority.file))
    fetch(server.url("data"), target, trusting)
    assert target.read_bytes() == BODY
    send(source, server.url("new", ME), trusting)
    assert (server.folder / "new").read_bytes() == BODY


def test_tls_for_another_host_is_refused(start: Start, authority: Authority, target: Path) -> None:
    pytest.importorskip("OpenSSL", reason="no pyOpenSSL: FTP over TLS is not tested (it is in the extra 'test')")
    server = start(certificate=str(authority.sign("elsewhere.example")))
    assert "IP address mismatch" in of_fetch(server.url("data"), target, Transfer(ca_file=str(authority.file)))


def test_a_server_that_is_down_is_named(target: Path, nobody: str) -> None:
    text = of_fetch(f"ftp://{nobody}/data", target)
    assert f"cannot connect to {nobody}: Connection refused (tried 3 times)" in text


def test_a_server_that_says_nothing_is_given_up(target: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        options = Transfer(connect_timeout=0.1, retries=1, pause=0)
        text = of_fetch(f"ftp://127.0.0.1:{silent.getsockname()[1]}/data", target, options)
    assert "it does not answer in time (tried 2 times)" in text


def test_a_server_of_something_else_is_an_error(target: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=_speak, args=(listener, b"SSH-2.0-x\xff\xfe\r\n"))
        thread.start()
        text = of_fetch(f"ftp://127.0.0.1:{listener.getsockname()[1]}/data", target, Transfer(retries=0))
        thread.join()
    assert "could not be fetched to" in text


def _speak(listener: socket.socket, words: bytes) -> None:
    connection, _ = listener.accept()
    with connection:
        connection.sendall(words)


@pytest.mark.parametrize("url", ["ftp://host", "ftp://host/", "ftp://me:secret@host/a%0d%0aDELE x", "http://host/x"])
def test_a_url_without_a_file_is_wrong(url: str, target: Path) -> None:
    with pytest.raises(ConfigurationError) as raised:
        fetch(url, target)
    assert "secret" not in str(raised.value)
