import os
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from parsl_pool.errors import SSHException
from parsl_pool.providers.channels.base import TIMED_OUT
from parsl_pool.providers.channels.ssh import SSHChannel
from tests.eventually import eventually
from tests.services.sshd import Sshd

pytestmark = pytest.mark.service


class Echo:
    """A server on this machine that answers everything by itself."""

    def __init__(self) -> None:
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._server.getsockname()[1]
        self._thread = threading.Thread(target=self._run, name="echo")
        self._others: list[threading.Thread] = []
        self._thread.start()

    def _run(self) -> None:
        while True:
            try:
                sock, _ = self._server.accept()
            except OSError:
                return
            thread = threading.Thread(target=self._serve, args=(sock,), name="echo-one")
            self._others.append(thread)
            thread.start()

    def _serve(self, sock: socket.socket) -> None:
        with sock:
            try:
                while data := sock.recv(1 << 16):
                    sock.sendall(data)
            except OSError:
                return

    def close(self) -> None:
        self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()
        self._thread.join()
        for thread in self._others:
            thread.join(10)
            assert not thread.is_alive()


@pytest.fixture
def echo(channel_to: Callable[..., SSHChannel]) -> Iterator[Echo]:
    server = Echo()
    yield server
    server.close()


def test_a_connection_that_was_cut_is_made_again(sshd: Sshd, channel: SSHChannel) -> None:
    assert channel.execute_wait("echo 1").stdout == "1\n"
    sshd.cut()
    assert channel.execute_wait("echo 2").stdout == "2\n"


def test_nobody_knows_of_a_command_that_ran_when_it_was_cut(sshd: Sshd, channel: SSHChannel, tmp_path: Path) -> None:
    def cut() -> None:
        eventually((tmp_path / "begun").exists)
        sshd.cut()

    thread = threading.Thread(target=cut)
    thread.start()
    with pytest.raises(SSHException, match="cut while a command ran; nobody knows"):
        channel.execute_wait(f"echo $$ >{tmp_path}/pid; touch {tmp_path}/begun; exec sleep 100", walltime=60)
    thread.join()
    os.kill(int((tmp_path / "pid").read_text()), signal.SIGKILL)
    assert channel.execute_wait("echo again").stdout == "again\n"


def test_attempts_come_less_and_less_often(sshd: Sshd, channel: SSHChannel) -> None:
    sshd.stop()
    with pytest.raises(SSHException, match="refused"):
        channel.execute_wait("true")
    with pytest.raises(SSHException, match=r"refused.*next attempt in|next attempt in"):
        channel.execute_wait("true")
    assert channel._pause_s == 1.0
    channel._not_before = 0.0
    with pytest.raises(SSHException):
        channel.execute_wait("true")
    assert channel._pause_s == 2.0
    sshd.start()
    channel._not_before = 0.0
    assert channel.execute_wait("echo up").stdout == "up\n"
    assert channel._pause_s == 0.0


def test_a_server_that_has_fallen_silent_is_given_up(sshd: Sshd, channel: SSHChannel) -> None:
    assert channel.execute_wait("echo 1").stdout == "1\n"
    (silent,) = sshd.sessions()
    silent.suspend()
    channel.connect_timeout = 1.0
    assert channel.execute_wait("echo 2").stdout == "2\n", "by another connection"
    assert silent.status() == psutil.STATUS_STOPPED


def test_a_server_that_falls_silent_while_a_command_runs(sshd: Sshd, channel: SSHChannel, tmp_path: Path) -> None:
    def silence() -> None:
        eventually((tmp_path / "pid").exists)
        for process in sshd.sessions():
            process.suspend()

    channel.connect_timeout = 1.0
    thread = threading.Thread(target=silence)
    thread.start()
    assert channel.execute_wait(f"echo $$ >{tmp_path}/pid; exec sleep 100", walltime=2).code == TIMED_OUT
    thread.join()
    pid = int((tmp_path / "pid").read_text())
    assert eventually(lambda: not psutil.pid_exists(pid)), "another connection has ended it"


def call(port: int, text: bytes) -> bytes:
    with socket.create_connection(("127.0.0.1", port), 10) as sock:
        sock.sendall(text)
        sock.shutdown(socket.SHUT_WR)
        got = b""
        while data := sock.recv(1 << 16):
            got += data
        return got


def test_a_port_there_leads_here(channel: SSHChannel, echo: Echo) -> None:
    port = channel.open_reverse(echo.port)
    assert port != echo.port and channel.open_reverse(echo.port) == port
    text = os.urandom(5_000_000)
    assert call(port, text) == text
    threads = [threading.Thread(target=call, args=(port, b"x" * 100_000)) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert eventually(lambda: not channel._connection.tunnels._open)  # type: ignore[union-attr]


def test_two_ports(channel: SSHChannel, echo: Echo) -> None:
    other = Echo()
    ports = channel.open_reverse(echo.port), channel.open_reverse(other.port)
    assert len(set(ports)) == 2
    assert [call(port, b"hello") for port in ports] == [b"hello"] * 2
    other.close()
    assert call(ports[1], b"hello") == b"", "nobody is there any more"
    assert call(ports[0], b"hello") == b"hello"


def test_another_port_leads_here_after_a_cut(sshd: Sshd, channel: SSHChannel, echo: Echo) -> None:
    port = channel.open_reverse(echo.port)
    sshd.cut()
    eventually(lambda: not channel._connection.is_alive)  # type: ignore[union-attr]
    channel.execute_wait("true")  # whoever notices it first
    with eventually(lambda: socket.create_server(("127.0.0.1", port))):
        other = channel.open_reverse(echo.port)
        assert call(other, b"hello") == b"hello"
        assert channel.open_reverse(echo.port) == other


def test_a_server_that_forwards_nothing(sshd: Sshd, channel_to: Callable[..., SSHChannel], echo: Echo) -> None:
    sshd.stop()
    sshd._more = "AllowTcpForwarding no\n"
    sshd.start()
    with pytest.raises(SSHException, match=r"here: it does not forward a port to here .*AllowTcpForwarding"):
        channel_to().open_reverse(echo.port)


def test_a_channel_that_is_closed_leaves_no_thread(channel: SSHChannel, echo: Echo) -> None:
    port = channel.open_reverse(echo.port)
    with socket.create_connection(("127.0.0.1", port), 10) as sock:
        sock.sendall(b"hello")
        assert sock.recv(5) == b"hello"
        assert channel.close()
        assert not [thread for thread in threading.enumerate() if thread.name.startswith("parsl-pool")]
        assert sock.recv(5) == b""
