"""Files that are sent to web servers, by PUT."""

from pathlib import Path

import pytest

from parsl_pool.errors import TransferFailed
from parsl_pool.staging.transfers.options import Transfer
from parsl_pool.staging.transfers.web import send
from tests.services.web_faults import Act, Handler, WebFaults, gives, hangs_up, sends_on, takes
from tests.staging.transfers.conftest import BODY, QUICK

pytestmark = pytest.mark.timeout(60)


def of_send(source: Path, url: str, options: Transfer = QUICK) -> str:
    with pytest.raises(TransferFailed) as raised:
        send(source, url, options)
    return str(raised.value)


@pytest.mark.parametrize("status", [200, 201, 204])
@pytest.mark.parametrize("body", [b"", BODY], ids=["empty", "megabyte"])
def test_a_file_goes_whole(body: bytes, status: int, server: WebFaults, source: Path) -> None:
    source.write_bytes(body)
    came: list[bytes] = []
    server.plan("/new", takes(came, status))
    send(source, server.url("/new"), QUICK)
    assert came == [body] and server.requests[0].method == "PUT"
    assert server.requests[0].headers["content-length"] == str(len(body))


@pytest.mark.parametrize("act", [gives(b"busy", 503), hangs_up], ids=["503", "hangs up"])
def test_it_is_sent_again_from_its_start(act: Act, server: WebFaults, source: Path) -> None:
    came: list[bytes] = []
    server.plan("/new", act, takes(came))
    send(source, server.url("/new"), QUICK)
    assert came == [BODY]


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_it_goes_where_it_is_sent(status: int, server: WebFaults, source: Path) -> None:
    came: list[bytes] = []
    server.plan("/new", sends_on("/other", status))
    server.plan("/other", takes(came))
    send(source, server.url("/new"), QUICK)
    assert came == [BODY] and [request.method for request in server.requests] == ["PUT", "PUT"]


def test_see_other_means_that_it_has_been_taken(server: WebFaults, source: Path) -> None:
    server.plan("/new", sends_on("/thanks", 303))
    send(source, server.url("/new"), QUICK)
    assert len(server.requests) == 1


def test_a_server_that_wants_none_of_it_is_heard(server: WebFaults, source: Path) -> None:
    with source.open("wb") as file:
        file.truncate(50_000_000)  # more than fits into any buffer on the way

    def refuses(handler: Handler) -> None:
        handler.head(403, Content_Length=11, Connection="close")
        handler.wfile.write(b"not for you")
        while handler.connection.recv(1 << 20):
            pass

    server.plan("/new", refuses)
    text = of_send(source, server.url("/new"))
    assert text == f"{server.url('/new')}: {source} could not be sent there: the server says: HTTP 403 Forbidden: " \
                   "not for you"
    assert len(server.requests) == 1


def test_a_file_that_is_missing_is_named(server: WebFaults, tmp_path: Path) -> None:
    text = of_send(tmp_path / "none", server.url("/new"))
    assert f"{tmp_path / 'none'} could not be sent there: it can't be read: FileNotFoundError" in text
    assert not server.requests


@pytest.mark.parametrize("change", ["longer", "shorter"])
def test_a_file_that_is_changed_while_it_is_sent_is_an_error(change: str, server: WebFaults, source: Path) -> None:
    with source.open("wb") as file:
        file.truncate(50_000_000)

    def changes_it(handler: Handler) -> None:
        handler.rfile.read(1000)
        with source.open("ab") as file:
            file.truncate(10 if change == "shorter" else 60_000_000)
        while handler.connection.recv(1 << 20):
            pass

    server.plan("/new", changes_it)
    text = of_send(source, server.url("/new"), Transfer(retries=0))
    assert text.endswith("it was changed while it was read")
