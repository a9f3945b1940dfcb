"""The program that passes on what nodes say to a tunnel's end: here from one loopback address to another."""

import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import psutil
import pytest

from parsl_pool.executors.high_throughput import relay_program
from tests.eventually import eventually

pytestmark = pytest.mark.timeout(30)

HOST = "127.0.0.2"


@contextmanager
def relay(port: int, *hosts: str) -> Iterator["subprocess.Popen[str]"]:
    command = [sys.executable, relay_program.__file__, str(port), *hosts]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def listens(process: "subprocess.Popen[str]") -> bool:
    return any(each.status == psutil.CONN_LISTEN for each in psutil.Process(process.pid).net_connections("tcp"))


@pytest.fixture
def end() -> Iterator[socket.socket]:
    """Where what is passed on comes out."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(10)
        yield server


def test_what_comes_is_passed_on_in_both_directions_until_one_ends(end: socket.socket) -> None:
    port = end.getsockname()[1]
    with relay(port, "no.such.host.invalid", HOST) as process:
        eventually(lambda: listens(process))
        with socket.create_connection((HOST, port), 10) as node:
            here, _ = end.accept()
            with here:
                here.settimeout(10)
                node.sendall(b"a" * 300_000)
                got = b""
                while len(got) < 300_000:
                    got += here.recv(1 << 16)
                here.sendall(b"answer")
                assert node.recv(10) == b"answer"
                node.close()
                assert here.recv(10) == b""


def test_it_ends_when_nobody_reads_its_output_any_more(end: socket.socket) -> None:
    with relay(end.getsockname()[1], HOST) as process:
        eventually(lambda: listens(process))
        assert process.stdout is not None
        process.stdout.close()
        assert process.wait(10) == 0


def test_where_somebody_listens_already_it_is_not_needed_and_ends(end: socket.socket) -> None:
    port = end.getsockname()[1]
    with socket.create_server((HOST, port)), relay(port, HOST) as process:
        assert process.wait(20) == 0
        assert process.stderr is not None and "in use" in process.stderr.read()


def test_it_waits_for_the_one_before_it_to_end(end: socket.socket) -> None:
    """The connection was made anew, and the far end of the old one has not noticed yet."""
    port = end.getsockname()[1]
    with relay(port, HOST) as before:
        eventually(lambda: listens(before))
        with relay(port, HOST) as process:
            assert before.stdout is not None
            before.stdout.close()
            assert before.wait(10) == 0
            eventually(lambda: listens(process))
