"""What is sent about a pool's use: what the user has asked for, to where he says, and else nothing."""

import json
import logging
import os
import platform
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import parsl_pool
from parsl_pool import Config, HighThroughputExecutor, ParslPoolExecutor, ThreadPoolExecutor
from parsl_pool.cli.main import main
from parsl_pool.errors import ConfigurationError
from parsl_pool.providers import LocalProvider
from parsl_pool.usage import tracking
from tests.eventually import eventually

pytestmark = pytest.mark.timeout(60)

ROOT = Path(__file__).parents[2]
HEAD = {"message", "run", "level", "project_name"}
VERSIONS = HEAD | {"parsl_pool", "python", "system", "release"}
START = {1: VERSIONS, 2: VERSIONS | {"components"}, 3: VERSIONS | {"components", "began"}}
END = HEAD | {"ended", "seconds", "tasks", "failed"}


class Collector:
    """A socket that messages are sent to."""

    def __init__(self, family: socket.AddressFamily = socket.AF_INET, host: str = "127.0.0.1") -> None:
        self.socket = socket.socket(family, socket.SOCK_DGRAM)
        self.socket.bind((host, 0))
        self.port = self.socket.getsockname()[1]
        self.address = f"{host}:{self.port}"

    def next(self) -> dict[str, Any]:
        self.socket.settimeout(20)
        found: dict[str, Any] = json.loads(self.socket.recv(65536))
        return found

    def is_empty(self) -> bool:
        """Datagrams on loopback are there as soon as they are sent."""
        self.socket.setblocking(False)
        try:
            self.socket.recv(1)
        except BlockingIOError:
            return True
        return False


@pytest.fixture
def collector() -> Iterator[Collector]:
    made = Collector()
    yield made
    made.socket.close()


def threads(**options: Any) -> ParslPoolExecutor:
    return ParslPoolExecutor(Config([ThreadPoolExecutor()], **options))


@pytest.mark.parametrize("level", [1, 2, 3])
def test_each_level_has_its_fields_and_no_others(level: int, collector: Collector) -> None:
    began = int(time.time())
    with threads(usage_tracking=level, usage_address=collector.address, project_name="fish") as pool:
        start = collector.next()
        futures = [pool.submit(abs, -1), pool.submit(divmod, 1, 0)]
        assert futures[0].result() == 1 and futures[1].exception() is not None
        assert collector.is_empty()
    assert set(start) == START[level]
    assert (start["message"], start["level"], start["project_name"]) == ("start", level, "fish")
    assert (start["parsl_pool"], start["python"]) == (parsl_pool.__version__, platform.python_version())
    assert (start["system"], start["release"]) == (os.uname().sysname, os.uname().release)
    assert start.get("components", {"ThreadPoolExecutor": 1}) == {"ThreadPoolExecutor": 1}
    if level == 3:
        end = collector.next()
        assert set(end) == END and began <= start["began"] <= end["ended"] <= time.time()
        assert (end["message"], end["run"], end["project_name"]) == ("end", start["run"], "fish")
        assert (end["tasks"], end["failed"]) == (2, 1) and 0 <= end["seconds"] <= time.time() - began + 1
    assert collector.is_empty()


@pytest.mark.parametrize("options", [{}, {"usage_tracking": 0}, {"usage_tracking": False}])
def test_nothing_is_sent_unless_it_was_asked_for(
    options: dict[str, Any], collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The environment does not overrule a program that says no."""
    if options:
        monkeypatch.setenv("PARSL_TRACKING", "true")
    with threads(usage_address=collector.address, **options) as pool:
        assert pool.submit(abs, -1).result() == 1
    assert collector.is_empty()


def test_who_does_not_track_loads_nothing_of_it() -> None:
    script = """
import sys, parsl_pool
with parsl_pool.load(), parsl_pool.ParslPoolExecutor(1) as pool:
    pool.submit(abs, -1).result()
print(*(name for name in sys.modules if name.startswith("parsl_pool.usage")))
"""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PARSL_TRACKING_ADDRESS": "127.0.0.1:9"}
    for variable in ({}, {"PARSL_TRACKING": "false"}):
        said = subprocess.check_output([sys.executable, "-c", script], env={**environment, **variable}, text=True)
        assert said.strip() == ""


def test_the_environment_can_ask_for_it(collector: Collector, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PARSL_TRACKING", "true")
    monkeypatch.setenv("PARSL_TRACKING_ADDRESS", collector.address)
    with ParslPoolExecutor(1):
        message = collector.next()
    assert set(message) == START[1] and message["project_name"] is None
    assert collector.is_empty()


def test_what_is_sent_is_logged(collector: Collector, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "parsl_pool.usage"), threads(
        usage_tracking=3, usage_address=collector.address
    ):
        pass
    sent = [collector.next(), collector.next()]
    logged = [record.getMessage() for record in caplog.records if record.name == "parsl_pool.usage"]
    assert [f"usage message to {collector.address}: {json.dumps(message)}" for message in sent] == logged


def test_without_an_address_nothing_is_sent_and_that_is_said_once(caplog: pytest.LogCaptureFixture) -> None:
    with threads(usage_tracking=True) as pool:
        assert pool.submit(abs, -1).result() == 1
    (record,) = [record for record in caplog.records if record.name == "parsl_pool.usage"]
    assert "sends nothing" in record.getMessage() and "PARSL_TRACKING_ADDRESS" in record.getMessage()


@pytest.mark.parametrize("variable, value", [
    ("PARSL_TRACKING", "perhaps"), ("PARSL_TRACKING", "7"), ("PARSL_TRACKING_ADDRESS", "nowhere"),
])  # fmt: skip
def test_a_wrong_variable_is_told_and_the_program_runs(
    variable: str, value: str, collector: Collector, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("PARSL_TRACKING", "true")
    monkeypatch.setenv("PARSL_TRACKING_ADDRESS", collector.address)
    monkeypatch.setenv(variable, value)
    with threads() as pool:
        assert pool.submit(abs, -1).result() == 1
    assert f"{variable} must be" in caplog.text and value in caplog.text
    assert collector.is_empty()


def closed_port() -> str:
    other = Collector()
    other.socket.close()
    return other.address


@pytest.mark.parametrize("where", [
    closed_port, lambda: "255.255.255.255:9", lambda: "no..host:9", lambda: "[::1]:9",
])  # fmt: skip
def test_a_place_that_takes_nothing_costs_nothing(where: Callable[[], str]) -> None:
    """A closed port, one that may not be sent to, a name that is none, a network that may not be there."""
    with threads(usage_tracking=3, usage_address=where()) as pool:
        assert pool.submit(abs, -1).result() == 1


def test_a_message_waits_for_nobody(collector: Collector) -> None:
    """A reader that reads nothing: its buffer is full, and what is sent is dropped."""
    collector.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2304)
    for _ in range(50):
        with threads(usage_tracking=3, usage_address=collector.address):
            pass


def test_a_name_is_looked_up_by_a_thread_and_what_is_sent_meanwhile_follows(collector: Collector) -> None:
    with threads(usage_tracking=3, usage_address=f"localhost:{collector.port}"):
        found = [collector.next()]
    found.append(collector.next())
    assert [message["message"] for message in found] == ["start", "end"]


SILENT_NAME_SERVER = """
import ctypes, fcntl, os, socket, struct, sys, threading
libc = ctypes.CDLL(None, use_errno=True)

def called(name, *arguments):
    if getattr(libc, name)(*arguments):
        sys.exit(77)  # not allowed here

called("unshare", 0x40020000)  # CLONE_NEWNET | CLONE_NEWNS
called("mount", None, b"/", None, 1 << 14 | 1 << 18, None)  # MS_REC | MS_PRIVATE
called("mount", os.fsencode(sys.argv[1]), b"/etc/resolv.conf", None, 4096, None)  # MS_BIND
server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
try:
    fcntl.ioctl(server, 0x8914, struct.pack("16sh14s", b"lo", 1, b""))  # SIOCSIFFLAGS, IFF_UP
    server.bind(("127.0.0.1", 53))
except OSError:
    sys.exit(77)
server.settimeout(20)

from parsl_pool import Config, ParslPoolExecutor, ThreadPoolExecutor
with ParslPoolExecutor(Config([ThreadPoolExecutor()], usage_tracking=3, usage_address="usage.example:9")) as pool:
    try:
        server.recv(1000)  # it has been asked, and says nothing
    except TimeoutError:
        os._exit(77)  # names are looked up elsewhere
    print(pool.submit(abs, -1).result())
print("ended", "parsl-pool-usage" in [thread.name for thread in threading.enumerate()])
"""


def test_a_name_server_that_does_not_answer_delays_nothing(tmp_path: Path) -> None:
    """The look-up takes minutes; the test would fail by its limit if anybody waited for it."""
    (tmp_path / "resolv.conf").write_text("nameserver 127.0.0.1\noptions timeout:30 attempts:5\n")
    done = subprocess.run(
        [sys.executable, "-c", SILENT_NAME_SERVER, str(tmp_path / "resolv.conf")],
        env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True, timeout=50,
    )  # fmt: skip
    if done.returncode == 77:
        pytest.skip("no name server of its own can be had here")
    assert (done.stdout, done.returncode) == ("1\nended True\n", 0), done.stderr


def test_the_end_is_told_of_a_pool_that_was_only_dropped(collector: Collector) -> None:
    script = f"""
from parsl_pool import Config, ParslPoolExecutor, ThreadPoolExecutor
options = dict(usage_tracking=3, usage_address="{collector.address}")
first = ParslPoolExecutor(Config([ThreadPoolExecutor()], **options))
future = first.submit(abs, -1)
del first
second = ParslPoolExecutor(Config([ThreadPoolExecutor()], **options))
second.submit(abs, -1)
"""
    subprocess.run([sys.executable, "-c", script], env={**os.environ, "PYTHONPATH": str(ROOT)}, check=True, timeout=40)
    found = [collector.next() for _ in range(4)]
    assert sorted(message["message"] for message in found) == ["end", "end", "start", "start"]
    assert [message["tasks"] for message in found if message["message"] == "end"] == [1, 1]


def test_a_forked_child_tells_nothing(collector: Collector) -> None:
    with threads(usage_tracking=3, usage_address=collector.address) as pool:
        collector.next()
        child = os.fork()
        if not child:
            pool._usage.ended()  # type: ignore[union-attr]  # it is tracked
            os._exit(0)
        os.waitpid(child, 0)
        assert collector.is_empty()
    assert collector.next()["message"] == "end"
    assert not tracking._live


class Mine(ThreadPoolExecutor):
    """Whose name says what its user works on."""


def test_components_are_counted_and_names_of_others_are_not_told(collector: Collector) -> None:
    provider = LocalProvider(init_blocks=0, max_blocks=1)
    far = HighThroughputExecutor("far", max_workers_per_node=1, provider=provider)
    config = Config([far, ThreadPoolExecutor(), Mine("mine")], usage_tracking=2, usage_address=collector.address)
    with ParslPoolExecutor(config):
        assert collector.next()["components"] == {
            "HighThroughputExecutor": 1, "LocalProvider": 1, "SingleNodeLauncher": 1, "ThreadPoolExecutor": 1,
            "other": 1,
        }  # fmt: skip


def test_wrong_options() -> None:
    with pytest.raises(ConfigurationError, match="usage_tracking must be True, False, None, or 0 to 3, got 4"):
        Config(usage_tracking=4)
    with pytest.raises(ConfigurationError, match=r'usage_address must be "host:port".*the port is a number'):
        Config(usage_address="host:http")


SITE = """
project_name = "fish"
usage_tracking = 3
usage_address = "usage.example:9999"

[[executors]]
type = "HighThroughputExecutor"
max_workers_per_node = 2

[executors.provider]
type = "LocalProvider"
"""


def test_the_command_prints_what_would_be_sent(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    site = tmp_path / "site.toml"
    site.write_text(SITE)
    assert main(["usage", "--config", str(site)]) == 0
    head, *lines = capsys.readouterr().out.splitlines()
    assert head == "level 3, to usage.example:9999:"
    start, end = map(json.loads, lines)
    assert set(start) == START[3] and set(end) == END and start["project_name"] == "fish"
    assert start["components"] == {"HighThroughputExecutor": 1, "LocalProvider": 1, "SingleNodeLauncher": 1}
    assert main(["usage", "--config", str(site), "--level", "1"]) == 0
    head, line = capsys.readouterr().out.splitlines()
    assert set(json.loads(line)) == START[1]
    assert main(["usage"]) == 0
    assert capsys.readouterr().out == "usage tracking is off: nothing is sent\n"
    monkeypatch.setenv("PARSL_TRACKING", "true")
    assert main(["usage"]) == 0
    assert "there is no address" in capsys.readouterr().out
    assert main(["usage", "--config", str(tmp_path / "none.toml")]) == 1
    assert "can't be read" in capsys.readouterr().err


def test_the_thread_for_a_name_ends(collector: Collector) -> None:
    with threads(usage_tracking=1, usage_address=f"localhost:{collector.port}"):
        collector.next()
    eventually(lambda: not [t for t in threading.enumerate() if t.name == "parsl-pool-usage"], within=10)
