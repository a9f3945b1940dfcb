"""A pool over three hosts that share nothing: apart from the sshd on each, it is as it would be on real machines."""

import os
import shlex
import shutil
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from parsl_pool import Config, HighThroughputExecutor, ParslPoolExecutor
from parsl_pool.errors import AuthException, BadHostKeyException, ManagerLost
from parsl_pool.providers import AdHocProvider
from parsl_pool.providers.channels.ssh import SSHChannel
from parsl_pool.scaling.blame import FATAL
from tests import leaks
from tests.eventually import eventually
from tests.services import hosts as here
from tests.services.hosts import NAMES, PASSWORD, Hosts
from tests.services.sshd import make_key, public

pytestmark = [pytest.mark.service, pytest.mark.slow]
ROOT = Path(__file__).parents[2]
INIT = f"export PATH='{Path(sys.executable).parent}':$PATH PYTHONPATH='{ROOT}'"


@pytest.fixture(scope="module")
def hosts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hosts]:
    if reason := here.why_not():
        pytest.skip(reason)
    with leaks.keeping("hosts in namespaces"):
        made = Hosts(tmp_path_factory.mktemp("hosts"), tmp_path_factory.getbasetemp())
        try:
            yield made
        finally:
            made.remove()


@pytest.fixture(autouse=True)
def no_agent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)


@pytest.fixture
def channels(hosts: Hosts) -> Iterator[list[SSHChannel]]:
    made = [SSHChannel(name, config_filename=hosts.config, connect_timeout=5) for name in NAMES]
    yield made
    for channel in made:
        channel.close()


@pytest.fixture
def new_pool(hosts: Hosts, channels: list[SSHChannel], tmp_path: Path) -> Iterator[Callable[..., ParslPoolExecutor]]:
    pools: list[ParslPoolExecutor] = []

    def new(**options: Any) -> ParslPoolExecutor:
        provider = AdHocProvider(channels, worker_init=INIT, cmd_timeout=5)
        provider.status_polling_interval = 0.5
        executor = HighThroughputExecutor(
            provider=provider, max_workers_per_node=2,
            **{"address": hosts.us, "heartbeat_period": 0.5, "heartbeat_threshold": 3, **options},
        )  # fmt: skip
        pools.append(ParslPoolExecutor(Config([executor], run_dir=str(tmp_path / "runs"), strategy="simple")))
        return pools[-1]

    yield new
    for pool in pools:
        pool.shutdown(cancel_futures=True)


def whose(_: Any) -> str:
    time.sleep(0.01)
    return socket.gethostname()


def all_are_at_work(pool: ParslPoolExecutor) -> None:
    eventually(lambda: set(pool.map(whose, range(60))) == set(NAMES), within=60)


def nothing_is_left(hosts: Hosts) -> None:
    for host in hosts.hosts.values():
        eventually(lambda host=host: not host.processes(), within=20)  # type: ignore[misc]
        assert not list((host.home / ".parsl_pool").glob("*"))


@pytest.mark.parametrize("way", ["direct", "tunnel"])
def test_a_pool_over_three_hosts(hosts: Hosts, new_pool: Callable[..., ParslPoolExecutor], way: str) -> None:
    pool = new_pool(address=hosts.us if way == "direct" else way)
    all_are_at_work(pool)
    results = list(pool.map(pow, range(2000), [2] * 2000))
    assert results == [number**2 for number in range(2000)]
    pool.shutdown()
    nothing_is_left(hosts)


FALSE_MANAGER = """\
import sys
from parsl_pool.interchange import curve, manager_program
ticket = curve.read_ticket(sys.argv[1])
keys = curve.make_keys()
false = ticket._replace(manager_public=keys.manager_public, manager_secret=keys.manager_secret, patience_s=2)
curve.write_ticket("/run/host/root/false", false)
sys.argv[1:] = ["/run/host/root/false", "0"]
manager_program.main()
"""


def test_who_has_not_the_key_is_turned_away(
    hosts: Hosts, channels: list[SSHChannel], new_pool: Callable[..., ParslPoolExecutor]
) -> None:
    pool = new_pool()
    all_are_at_work(pool)
    (ticket,) = (hosts.hosts["one"].home / ".parsl_pool").glob("run-*/ticket")
    there = str(ticket).replace(str(hosts.hosts["one"].folder), "/run/host")
    command = f"{INIT}; python3 -c {shlex.quote(FALSE_MANAGER)} {there}"
    result = channels[0].execute_wait(command, 60)
    assert "the interchange does not know our key" in result.stdout + result.stderr, result
    assert set(pool.map(whose, range(60))) == set(NAMES)
    (hosts.hosts["one"].home / "false").unlink()
    pool.shutdown()
    nothing_is_left(hosts)


@pytest.mark.parametrize("how, way", [("cut", "direct"), ("swallow", "direct"), ("swallow", "tunnel")])
def test_a_host_that_is_cut_off_for_a_while(
    hosts: Hosts, new_pool: Callable[..., ParslPoolExecutor], how: str, way: str
) -> None:
    pool = new_pool(address=hosts.us if way == "direct" else way)
    all_are_at_work(pool)
    host = hosts.hosts["two"]
    getattr(host, how)()
    try:
        futures = [pool.options(lost_retries=3).submit(whose, number) for number in range(200)]
        assert {future.result(90) for future in futures} <= set(NAMES)
        eventually(lambda: set(pool.map(whose, range(60))) == {"one", "three"}, within=60)
    finally:
        host.restore()
    all_are_at_work(pool)
    pool.shutdown()
    nothing_is_left(hosts)


def ends_its_manager() -> None:
    os.kill(psutil.Process(os.getppid()).ppid(), signal.SIGKILL)
    time.sleep(60)


def test_a_task_that_ends_its_places_fails_at_the_fifth_or_soon_after(
    hosts: Hosts, new_pool: Callable[..., ParslPoolExecutor]
) -> None:
    """Whatever it may lose, and the others go on. How the job of the fourth has ended may be known late."""
    pool = new_pool()
    all_are_at_work(pool)
    deadly = pool.options(lost_retries=100).submit(ends_its_manager)
    while not deadly.done():
        assert set(pool.options(lost_retries=100).map(whose, range(60))) <= set(NAMES)
    error = deadly.exception(0)
    assert isinstance(error, ManagerLost)
    assert "so it is not tried again" in str(error)
    assert FATAL < len(deadly.attempts) < 20
    all_are_at_work(pool)
    pool.shutdown()
    nothing_is_left(hosts)


def dies_on(bad: str) -> None:
    """Its worker does, on that host."""
    time.sleep(0.01)
    if socket.gethostname() == bad:
        os.kill(os.getpid(), signal.SIGKILL)


def test_a_host_on_which_workers_die_is_left_out(hosts: Hosts, new_pool: Callable[..., ParslPoolExecutor]) -> None:
    pool = new_pool()
    all_are_at_work(pool)

    def is_named() -> bool:
        for future in [pool.options(retries=0).submit(dies_on, "two") for _ in range(30)]:
            future.exception(60)
        return "node two has lost the workers of" in pool.explain()

    eventually(is_named, within=60)
    eventually(lambda: set(pool.map(whose, range(60))) == {"one", "three"}, within=60)
    eventually(lambda: not hosts.hosts["two"].processes(), within=30)
    pool.shutdown()
    nothing_is_left(hosts)


def stay_there(place: str) -> None:
    Path(place, "where").write_text(socket.gethostname())
    while not Path(place, "go").exists():
        time.sleep(0.1)


def test_a_host_that_is_cut_off_for_good(hosts: Hosts, new_pool: Callable[..., ParslPoolExecutor]) -> None:
    pool = new_pool()
    all_are_at_work(pool)
    host = hosts.hosts["three"]
    futures = [pool.options(lost_retries=0).submit(stay_there, "/run/host/root") for _ in range(6)]
    eventually(lambda: all((each.home / "where").exists() for each in hosts.hosts.values()), within=30)
    host.power_off()
    try:
        eventually(lambda: sum(future.done() for future in futures) == 2, within=60)
        lost = [future.exception(0) for future in futures if future.done()]
        assert all(isinstance(error, ManagerLost) for error in lost), lost
        for name in "one", "two":
            (hosts.hosts[name].home / "go").touch()
        assert set(pool.map(whose, range(40))) == {"one", "two"}
        pool.shutdown()
    finally:
        (host.folder / "log").write_text("")
        host.boot()
    left = list((host.home / ".parsl_pool").iterdir())  # nobody could remove it; what it has opens nothing any more
    assert len(left) == 1
    shutil.rmtree(left[0])
    for each in hosts.hosts.values():
        for name in "where", "go":
            (each.home / name).unlink(missing_ok=True)
        if each is not host:
            eventually(lambda each=each: not each.processes(), within=20)  # type: ignore[misc]


def test_a_wrong_host_key_and_a_wrong_password(hosts: Hosts, tmp_path: Path) -> None:
    wrong = tmp_path / "known"
    line = " ".join(public(make_key(tmp_path / "other")).split()[:2])
    wrong.write_text(f"{hosts.hosts['one'].address} {line}\n")
    channel = SSHChannel("one", config_filename=hosts.config, host_keys_filename=wrong)
    with pytest.raises(BadHostKeyException, match=r"has changed.*line 1.*Somebody may stand between"):
        channel.execute_wait("true")
    guest = {"username": "guest", "key_filename": os.devnull, "config_filename": hosts.config}
    for password in "wrong", None:
        channel = SSHChannel("one", password=password, **guest)  # type: ignore[arg-type]
        with pytest.raises(AuthException, match="does not let guest in"):
            channel.execute_wait("true")
        channel.close()
    channel = SSHChannel("one", password=PASSWORD, **guest)  # type: ignore[arg-type]
    assert channel.execute_wait("id -un").stdout == "guest\n"
    assert channel.close()


def test_a_pool_whose_third_host_is_not_to_be_trusted(
    hosts: Hosts, channels: list[SSHChannel], new_pool: Callable[..., ParslPoolExecutor], tmp_path: Path
) -> None:
    lines = hosts.known_hosts.read_text().splitlines()
    (tmp_path / "known").write_text("\n".join(lines[:2]) + "\n")
    for channel in channels:
        channel.host_keys_filename = str(tmp_path / "known")
    pool = new_pool()
    eventually(lambda: set(pool.map(whose, range(60))) == {"one", "two"}, within=60)
    (executor,) = pool.executors.values()
    provider = getattr(executor, "provider")  # noqa: B009  # of this kind of executor
    messages = [status.message for status in provider.status(list(provider._blocks))]
    assert any("its key is not known" in message for message in messages), messages
    pool.shutdown()
    nothing_is_left(hosts)
