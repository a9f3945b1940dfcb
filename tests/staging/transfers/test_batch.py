"""Many files at once, and connections that are used again."""

from pathlib import Path

import pytest

from parsl_pool.errors import ConfigurationError, TransferFailed
from parsl_pool.staging.transfers import by_scheme
from parsl_pool.staging.transfers.batch import fetch_all
from parsl_pool.staging.transfers.web import fetch
from parsl_pool.staging.transfers.web_connections import Connections
from tests.services.web_faults import WebFaults, gives, serves
from tests.staging.transfers.conftest import QUICK

pytestmark = pytest.mark.timeout(60)


def test_many_files_come_over_few_connections(server: WebFaults, folder: Path) -> None:
    files = []
    for number in range(100):
        server.plan(f"/{number}", serves(b"%d" % number))
        files.append((server.url(f"/{number}"), folder / str(number)))
    fetch_all(files, QUICK, 4)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == {
        str(number): b"%d" % number for number in range(100)
    }
    assert server.connections <= 4 and len(server.requests) == 100


def test_one_that_fails_is_named(server: WebFaults, folder: Path) -> None:
    server.plan("*", gives(b"no such file", 404))
    with pytest.raises(TransferFailed, match="/0: could not be fetched to .*: HTTP 404 Not Found: no such file"):
        fetch_all([(server.url(f"/{number}"), folder / str(number)) for number in range(30)], QUICK, 1)
    assert not list(folder.iterdir())


def test_a_connection_that_the_server_has_ended_is_no_failure(server: WebFaults, folder: Path) -> None:
    server.plan("/data", serves(b"x"))
    with Connections(QUICK) as connections:
        for number in range(3):
            fetch(server.url("/data"), folder / str(number), QUICK, connections)
            server.cut_all()
    assert len(server.requests) == 3 and server.connections == 3 and len(list(folder.iterdir())) == 3


def test_a_scheme_that_nobody_knows_is_wrong(folder: Path) -> None:
    with pytest.raises(ConfigurationError, match="must begin with one of http:, https:, ftp:"):
        by_scheme.fetch("gopher://me:secret@host/x", folder / "x")
