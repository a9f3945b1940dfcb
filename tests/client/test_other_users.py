"""Another user of this machine gets nothing of a pool: no connection, no data, no key, and cannot hurt it."""

import contextlib
import multiprocessing
import os
import pwd
import shutil
import signal
import stat
import tempfile
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, NamedTuple

import psutil
import pytest
import zmq

from parsl_pool import ParslPoolExecutor
from parsl_pool.interchange import curve
from tests import leaks
from tests.eventually import eventually
from tests.fuzz.zmq_peers import Peer, registration
from tests.network import connection_to
from tests.recovery.arrangement import Arrangement, listening, names_of_sockets

LARGE = 3 << 20

needs_root = pytest.mark.skipif(os.getuid() != 0, reason="only root can become another user to try it")
needs_proc = pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="looks into /proc")


class Stranger:
    """A process of the user `nobody`, which does what it is asked to."""

    def __init__(self) -> None:
        self._pipe, theirs = multiprocessing.Pipe()
        self.pid = os.fork()
        if not self.pid:
            self._be_one(theirs)
        theirs.close()

    def _be_one(self, pipe: Connection) -> None:
        try:
            nobody = pwd.getpwnam("nobody")
            os.setgroups([])
            os.setgid(nobody.pw_gid)
            os.setuid(nobody.pw_uid)
            self._pipe.close()
            while True:
                function, arguments = pipe.recv()
                try:
                    pipe.send(function(*arguments))
                except OSError as error:
                    pipe.send(error)
        except EOFError:
            os._exit(0)
        finally:
            os._exit(1)

    def does(self, function: Callable[..., Any], *arguments: object) -> Any:
        """What came of it; an OSError is returned."""
        self._pipe.send((function, arguments))
        assert self._pipe.poll(60)
        return self._pipe.recv()

    def end(self) -> None:
        self._pipe.close()
        assert os.waitpid(self.pid, 0)[1] == 0


class Target(NamedTuple):
    """A pool, and what there is of it to attack."""

    pool: ParslPoolExecutor
    processes: list[psutil.Process]
    run_dir: Path
    ticket: curve.Ticket | None


@pytest.fixture(scope="module")
def stranger() -> Iterator[Stranger]:
    with leaks.keeping("the module's stranger"):
        stranger = Stranger()
        yield stranger
        stranger.end()


@pytest.fixture(scope="module")
def open_directory() -> Iterator[Path]:
    """One that everybody can enter, so that it is the pool's own directory that keeps others out."""
    path = Path(tempfile.mkdtemp(dir=os.path.dirname(tempfile.gettempdir())))
    path.chmod(0o755)
    yield path
    shutil.rmtree(path)


@pytest.fixture(scope="module")
def target(stranger: Stranger, manager_inside: bool, open_directory: Path) -> Iterator[Target]:
    """It has large data in memory, and a task that runs. Made after the stranger: that one inherits nothing of it."""
    base = open_directory / f"inside-{manager_inside}"
    others = set(psutil.Process().children(recursive=True))  # the stranger, and what servers of other tests run
    with leaks.keeping("the module's pool"), ParslPoolExecutor(2, manager_inside=manager_inside, run_dir=base) as pool:
        large: list[Any] = [pool.submit(bytes, LARGE), pool.submit(len, bytes(LARGE))]
        assert large[1].result(30) == LARGE and len(large[0].result(30)) == LARGE
        end = open_directory / f"end-{manager_inside}"
        goes_on = pool.submit(wait_for, end, bytes(LARGE))
        eventually(goes_on.running)
        apart = pool._backend.link._apart
        (run_dir,) = base.iterdir()
        ours = [process for process in psutil.Process().children(recursive=True) if process not in others]
        yield Target(pool, ours, run_dir, None if apart is None else curve.read_ticket(apart._ticket))
        end.touch()
        assert goes_on.result(30) == LARGE


def wait_for(path: Path, data: bytes) -> int:
    eventually(path.exists, within=100)
    return len(data)


# ---- what a stranger tries; these run in its process


def read(path: str) -> bytes:
    with open(path, "rb") as file:
        return file.read(10)


def write(path: str) -> None:
    with open(path, "ab") as file:
        file.write(b"x")


def call_at(address: str) -> None:
    connection_to(address).close()


def knock(ticket: curve.Ticket) -> bool:
    """Has it been let in? It knows everything but the secret key."""
    public, secret = (key.decode() for key in zmq.curve_keypair())
    own = ticket._replace(manager_public=public, manager_secret=secret)
    with Peer(ticket.address, own, "stranger/1") as peer:
        with contextlib.suppress(zmq.Again):
            peer.tell(registration("stranger"))
        return peer.is_admitted()


# ---- and what comes of it


def is_denied(outcome: object) -> bool:
    return isinstance(outcome, PermissionError)


@needs_root
def test_the_stranger_can_do_what_anybody_may(stranger: Stranger, tmp_path: Path) -> None:
    """Else what it is denied below would say nothing."""
    assert stranger.does(os.getuid) == pwd.getpwnam("nobody").pw_uid
    assert stranger.does(read, "/proc/self/environ") != b""
    assert stranger.does(os.kill, os.getpid(), 0).errno


@needs_root
def test_no_file_of_the_run_can_be_listed_read_or_written(stranger: Stranger, target: Target) -> None:
    assert isinstance(stranger.does(os.stat, str(target.run_dir.parents[1])), os.stat_result), "the way there is open"
    paths = [target.run_dir.parent, target.run_dir, *target.run_dir.rglob("*")]
    assert len(paths) > (5 if target.ticket else 2)
    for path in map(str, paths):
        if os.path.isdir(path):
            assert is_denied(stranger.does(os.listdir, path)), path
            assert is_denied(stranger.does(write, f"{path}/new")), path
        else:
            assert is_denied(stranger.does(read, path)) and is_denied(stranger.does(write, path)), path


@needs_root
@needs_proc
def test_no_memory_descriptor_or_environment_can_be_read(stranger: Stranger, target: Target) -> None:
    assert len(target.processes) >= 4
    for process in target.processes:
        about = f"/proc/{process.pid}"
        for name in ("environ", "mem", "maps"):
            assert is_denied(stranger.does(read, f"{about}/{name}")), f"{about}/{name}"
        assert is_denied(stranger.does(os.listdir, f"{about}/fd"))
        for fd in os.listdir(f"{about}/fd"):
            assert is_denied(stranger.does(read, f"{about}/fd/{fd}")), os.readlink(f"{about}/fd/{fd}")
            assert is_denied(stranger.does(write, f"{about}/fd/{fd}")), os.readlink(f"{about}/fd/{fd}")


@needs_root
@needs_proc
def test_what_everybody_can_see_of_a_process_holds_no_key(stranger: Stranger, target: Target) -> None:
    link = target.pool._backend.link
    keys = [] if link._apart is None else [key.encode() for key in link._apart._keys]
    assert bool(keys) is (target.ticket is not None)
    for process in target.processes:
        about = Path(f"/proc/{process.pid}")
        for name in ("cmdline", "comm", "environ"):  # the last only for its own user, and there are none there either
            text = (about / name).read_bytes()
            assert not any(key in text for key in keys), about / name
        assert stranger.does(read, str(about / "cmdline")) == (about / "cmdline").read_bytes()[:10], "this one is open"


@needs_root
def test_no_process_can_be_signalled(stranger: Stranger, target: Target) -> None:
    for process in target.processes:
        for number in (0, signal.SIGTERM, signal.SIGKILL, signal.SIGSTOP):
            assert is_denied(stranger.does(os.kill, process.pid, number))


@needs_proc
def test_no_socket_of_a_pool_has_a_name_but_one_in_its_directory(target: Target) -> None:
    """What has no name cannot be connected to. Neither has shared memory."""
    found = set()
    for process in target.processes:
        found |= names_of_sockets(process)
        for fd in os.listdir(f"/proc/{process.pid}/fd"):
            assert not os.readlink(f"/proc/{process.pid}/fd/{fd}").startswith("/dev/shm/")
    assert found == (set() if target.ticket is None else {str(target.run_dir / "managers")})


def test_no_process_has_a_port(target: Target) -> None:
    assert not any(map(listening, target.processes))


@needs_root
def test_the_managers_socket_is_in_a_directory_that_the_stranger_cannot_enter(
    stranger: Stranger, target: Target
) -> None:
    """It costs the pool nothing: it does not hear of it. The open path to the directory is another test's."""
    if target.ticket is None:
        pytest.skip("there is no such socket")
    before = target.pool._backend.link.ask(30).dropped_frames
    connection_to(target.ticket.address).close()  # we can
    eventually(lambda: target.pool._backend.link.ask(30).dropped_frames == before + 1)
    for _ in range(5):
        assert is_denied(stranger.does(call_at, target.ticket.address))
    assert target.pool._backend.link.ask(30).dropped_frames == before + 1
    assert stat.S_IMODE(os.stat(target.run_dir / "managers").st_mode) == 0o600


@needs_root
def test_whoever_has_not_the_key_is_turned_away_at_a_port(stranger: Stranger) -> None:
    with Arrangement(inside=False, address="127.0.0.1").pool(1) as pool:
        ticket = curve.read_ticket(pool._backend.link._apart._ticket)
        assert ticket.address.startswith("tcp://127.0.0.1:")
        before = pool._backend.link.ask(30).dropped_frames
        assert stranger.does(knock, ticket) is False
        eventually(lambda: pool._backend.link.ask(30).dropped_frames == before + 1)
        assert pool.submit(abs, -1).result(30) == 1


# ---- whatever the umask says


@pytest.fixture
def no_umask() -> Iterator[None]:
    before = os.umask(0)
    yield
    os.umask(before)


@pytest.mark.usefixtures("no_umask")
def test_all_that_is_made_is_for_its_user_alone(manager_inside: bool, tmp_path: Path) -> None:
    base = tmp_path / "new" / "runs"
    with ParslPoolExecutor(1, manager_inside=manager_inside, run_dir=base) as pool:
        assert pool.submit(abs, -1).result(30) == 1
        check_modes(base.parent, at_least=3)
    check_modes(base.parent, at_least=3)


@pytest.mark.usefixtures("no_umask")
def test_a_temporary_directory_is_for_its_user_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with ParslPoolExecutor(1, manager_inside=False) as pool:
        assert pool.submit(abs, -1).result(30) == 1
        (made,) = (path for path in tmp_path.iterdir() if path.name.startswith("parsl-pool-"))
        check_modes(made, at_least=4)


def check_modes(top: Path, at_least: int) -> None:
    found = {str(path): stat.S_IMODE(path.lstat().st_mode) for path in (top, *top.rglob("*"))}
    assert len(found) >= at_least
    assert {path: oct(mode) for path, mode in found.items() if mode & 0o077} == {}


def test_a_directory_that_all_may_write_to_is_warned_of(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    tmp_path.chmod(0o777)
    with ParslPoolExecutor(1, manager_inside=True, run_dir=tmp_path) as pool:
        assert pool.submit(abs, -1).result(30) == 1
    assert f"every user may write to {tmp_path}" in caplog.text
    caplog.clear()
    tmp_path.chmod(0o1777)
    with ParslPoolExecutor(1, manager_inside=True, run_dir=tmp_path) as pool:
        assert pool.submit(abs, -1).result(30) == 1
    assert "every user may write" not in caplog.text
