"""Where managers apart connect: a unix socket in a directory of ours; else, or if asked for, a port."""

import os
import shutil
import socket
import stat
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import zmq

from parsl_pool import Config, HighThroughputExecutor, ParslPoolExecutor
from parsl_pool.errors import PoolBroken
from parsl_pool.executors.high_throughput import meeting_place
from parsl_pool.executors.high_throughput.arrangement import is_on_this_host
from parsl_pool.executors.high_throughput.meeting_place import MeetingPlace
from parsl_pool.executors.high_throughput.where import Where
from parsl_pool.interchange import curve
from parsl_pool.providers import LocalProvider, SimpleLauncher, SingleNodeLauncher, WrappedLauncher
from parsl_pool.run_directory import RunDirectory
from tests.eventually import eventually
from tests.exits.scripts import Script
from tests.recovery.arrangement import Arrangement, listening, names_of_sockets

pytestmark = pytest.mark.timeout(60)

LONG = "x" * 150
LEFT_TO_THE_POOL = Where(None, None, "127.0.0.1", 30.0)


@pytest.fixture
def short() -> Iterator[Path]:
    """A directory with a short path."""
    path = Path(tempfile.mkdtemp())
    yield path
    shutil.rmtree(path)


@pytest.fixture
def directory_of(short: Path) -> Iterator[Callable[[str], RunDirectory]]:
    """Makes run directories, kept ones, below a directory of that name."""
    made: list[RunDirectory] = []

    def make(name: str) -> RunDirectory:
        made.append(RunDirectory(short / name))
        return made[-1]

    yield make
    for directory in made:
        directory.close()


def pool_with(**options: Any) -> ParslPoolExecutor:
    """With its manager apart."""
    run_dir = options.pop("run_dir", None)
    executor = HighThroughputExecutor(max_workers_per_node=1, manager_inside=False, **options)
    return ParslPoolExecutor(Config([executor], run_dir=run_dir))


def address_of(pool: ParslPoolExecutor) -> str:
    """Where managers connect, once a task has run."""
    assert pool.submit(abs, -1).result(30) == 1
    return curve.read_ticket(pool._backend.link._apart._ticket).address


# ---- names of paths


@pytest.mark.parametrize("name", ["@abstract é世", "with 'spaces' \"and\" $MORE", "tcp:*%2e;#?"])
def test_any_name_that_fits_will_do(directory_of: Callable[[str], RunDirectory], name: str) -> None:
    """Never one of the abstract ones, which every user may connect to; and `*` is what it says."""
    with pool_with(run_dir=os.path.dirname(directory_of(name).path)) as pool:
        address = address_of(pool)
        path = Path(address.removeprefix("ipc://"))
        assert path.parts[-3] == name and path.is_socket()
        assert stat.S_IMODE(path.stat().st_mode) == 0o600 and stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert path.parent.is_dir() and not path.exists()


@pytest.mark.parametrize("too_much", [0, 1])
def test_a_path_is_used_up_to_the_last_byte(short: Path, too_much: int) -> None:
    base = short / ("n" * (zmq.IPC_PATH_MAX_LEN - len(f"{short}//000/managers") + too_much))
    with pool_with(run_dir=base) as pool:
        address = address_of(pool)
        path = Path(address.removeprefix("ipc://"))
        assert (path.parents[1] == base) is not bool(too_much)
        if too_much:
            assert path.parents[1] == Path(tempfile.gettempdir())
            assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert not path.exists() and (path.parent.exists() is not bool(too_much))


@pytest.mark.parametrize("name", ["\udcff", "two\nlines"], ids=["no text", "two lines"])
def test_for_a_name_that_cannot_be_shown_another_directory_is_made(
    directory_of: Callable[[str], RunDirectory], name: str
) -> None:
    """A line more would spoil /proc/net/unix for all who read it."""
    directory = directory_of(name)
    place = MeetingPlace(directory, LEFT_TO_THE_POOL, True, False)
    (address,) = place.choices()
    made = os.path.dirname(address.removeprefix("ipc://"))
    assert os.path.dirname(made) == tempfile.gettempdir() and place.left_behind() == [made]
    place.close()
    assert not os.path.exists(made)


def test_where_the_temporary_directory_has_a_long_name_too_there_is_another(
    short: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (short / LONG).mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(short / LONG))
    monkeypatch.setattr(meeting_place, "_SHORT", str(short))
    with pool_with() as pool:
        path = Path(address_of(pool).removeprefix("ipc://"))
        assert path.parents[1] == short and path.is_socket()
    assert os.listdir(short) == [LONG] and os.listdir(short / LONG) == []


def test_a_port_is_the_last_resort_and_that_is_said(
    short: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (short / LONG).mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(short / LONG))
    monkeypatch.setattr(meeting_place, "_SHORT", str(short / LONG))
    with pool_with() as pool:
        assert address_of(pool).startswith("tcp://127.0.0.1:")
    assert os.listdir(short / LONG) == []
    assert "every user of this host can reach" in caplog.text and "too long" in caplog.text


# ---- who asks for a port


def own_launcher(command: str, tasks_per_node: int, nodes_per_block: int) -> str:
    return command


class Elsewhere(LocalProvider):
    """For what it says, it could start its jobs anywhere."""


PROVIDERS: list[tuple[Any, bool]] = [
    (LocalProvider(), True),
    (LocalProvider(max_blocks=3, worker_init="true"), True),
    (LocalProvider(launcher=SimpleLauncher()), True),
    (LocalProvider(launcher=SingleNodeLauncher()), True),
    (LocalProvider(launcher=WrappedLauncher("env")), False),
    (LocalProvider(launcher=own_launcher), False),
    (Elsewhere(), False),
]


# No ids made of their texts: one has an address in memory, and pytest's processes would collect different tests.
@pytest.mark.parametrize("provider, expected", PROVIDERS, ids=range(len(PROVIDERS)))
def test_only_of_our_own_launchers_it_is_known_that_they_start_managers_here(provider: Any, expected: bool) -> None:
    assert is_on_this_host(provider) is expected


def test_whoever_may_be_started_elsewhere_gets_a_port() -> None:
    with pool_with(provider=LocalProvider(launcher=WrappedLauncher("env"))) as pool:
        assert address_of(pool).startswith("tcp://127.0.0.1:")
        assert names_of_sockets(Arrangement(inside=False).parts(pool).interchange) == set()


@pytest.fixture
def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as door:
        port: int = door.getsockname()[1]
        return port


def test_an_address_and_a_range_of_ports_are_kept_to(free_port: int) -> None:
    """By the next interchange, too."""
    with pool_with(address="127.0.0.1", worker_port_range=(free_port, free_port)) as pool:
        assert address_of(pool) == f"tcp://127.0.0.1:{free_port}"
        parts = Arrangement(inside=False).parts(pool)
        before = parts.interchange
        (door,) = listening(before)
        assert (door.laddr.ip, door.laddr.port) == ("127.0.0.1", free_port)
        before.kill()
        eventually(lambda: pool._backend.link._process.pid != before.pid)
        assert address_of(pool) == f"tcp://127.0.0.1:{free_port}"


def test_a_range_alone_asks_for_a_port_too(directory_of: Callable[[str], RunDirectory]) -> None:
    place = MeetingPlace(directory_of("runs"), LEFT_TO_THE_POOL._replace(ports=range(54000, 54003)), True, False)
    assert sorted(place.choices()) == [f"tcp://127.0.0.1:{port}" for port in (54000, 54001, 54002)]


def test_where_no_port_of_the_range_is_free_the_error_says_so() -> None:
    with socket.create_server(("127.0.0.1", 0)) as door:
        port = door.getsockname()[1]
        with pool_with(worker_port_range=(port, port)) as pool:
            error = pool.submit(abs, -1).exception(30)
    assert isinstance(error, PoolBroken)
    assert f"cannot listen at tcp://127.0.0.1:{port}: Address already in use" in str(error)


def test_an_address_of_another_machine_is_an_error_at_the_start() -> None:
    with pool_with(address="203.0.113.7") as pool, pytest.raises(Exception, match=r"203\.0\.113\.7.*of this machine\?"):
        pool.submit(abs, -1)


# ---- the ends


def test_the_next_interchange_has_the_same_socket_and_the_manager_comes_back() -> None:
    with pool_with() as pool:
        address = address_of(pool)
        parts = Arrangement(inside=False).parts(pool)
        manager = parts.manager
        for _ in range(2):
            interchange = parts.interchange
            interchange.kill()
            eventually(lambda: parts.interchange != interchange)  # noqa: B023  # called here
            assert address_of(pool) == address
        assert parts.manager == manager


@pytest.mark.parametrize("length", [1, 150], ids=["short", "long"])
def test_a_client_that_is_killed_leaves_no_socket_and_no_keys(tmp_path: Path, length: int) -> None:
    base = tmp_path / ("x" * length)
    body = "pool = make(1, run_dir=sys.argv[-1])\nprint(pool.submit(abs, -1).result(), flush=True)\nsay('ready')\n"
    with Script(tmp_path, body.replace("sys.argv[-1]", repr(str(base))) + "time.sleep(100)", inside=False) as script:
        script.until("ready")
        assert any(path.name == "ticket" for path in base.rglob("*"))
        script.process.kill()
        script.ends(within=15)
        script.check_nothing_is_left()
    assert not [path for path in base.rglob("*") if path.is_socket() or path.name == "ticket"]


def test_what_is_left_when_all_were_killed_at_once_is_removed_by_the_next(short: Path) -> None:
    left = short / "parsl-pool-left"
    left.mkdir()
    (left / "in-use").touch()
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(left / "managers"))
    directory = RunDirectory(below=str(short))
    assert os.listdir(short) == [os.path.basename(directory.path)]
    directory.close()
