"""What an interchange listens at, and what its managers are told, for all that can be said by `address=` and ports."""

import os
import shutil
import socket
import sys
from pathlib import Path
from typing import Any

import psutil
import pytest

from parsl_pool import Config, HighThroughputExecutor, ParslPoolExecutor, addresses
from parsl_pool.errors import ConfigurationError, ExecutionProviderException, PoolBroken
from parsl_pool.executors.high_throughput.arrangement import is_elsewhere
from parsl_pool.executors.high_throughput.listening import endpoints
from parsl_pool.executors.high_throughput.meeting_place import MeetingPlace
from parsl_pool.interchange import curve, reach
from parsl_pool.providers import LocalProvider, SlurmProvider, SrunLauncher, WrappedLauncher
from parsl_pool.providers.node_launchers import NodeLauncher
from tests.eventually import eventually
from tests.recovery.arrangement import Arrangement, listening

pytestmark = pytest.mark.timeout(60)

ROOT = Path(__file__).parents[2]
HAS_IPV6 = "::1" in {entry.address for entry in psutil.net_if_addrs().get("lo", [])}


class OtherNode(NodeLauncher):
    """Starts managers on other nodes, for all that the pool knows."""

    def text(self, tasks_per_node: int, nodes: int) -> str:
        return 'eval "$parsl_pool_command"\n'


def pool_with(elsewhere: bool = True, **options: Any) -> ParslPoolExecutor:
    """With its manager apart, and perhaps elsewhere."""
    provider = LocalProvider(launcher=OtherNode(debug=False)) if elsewhere else LocalProvider()
    executor = HighThroughputExecutor(max_workers_per_node=1, manager_inside=False, provider=provider, **options)
    return ParslPoolExecutor(Config([executor], run_dir=None))


def told(pool: ParslPoolExecutor) -> list[str]:
    """Where managers connect, once a task has run."""
    assert pool.submit(abs, -1).result(30) == 1
    return curve.read_ticket(pool._backend.link._apart._ticket).addresses


def listened(pool: ParslPoolExecutor) -> set[str]:
    return {each.laddr.ip for each in listening(Arrangement(inside=False).parts(pool).interchange)}


PROVIDERS: list[tuple[Any, bool]] = [
    (LocalProvider(), False),
    (LocalProvider(launcher=WrappedLauncher("env")), False),
    (LocalProvider(launcher=lambda command, tasks, nodes: command), False),
    (LocalProvider(launcher=SrunLauncher()), True),
    (LocalProvider(launcher=OtherNode()), True),
    (SlurmProvider(), True),
]


@pytest.mark.parametrize("provider, expected", PROVIDERS, ids=range(len(PROVIDERS)))
def test_managers_are_expected_elsewhere_only_where_something_starts_them_there(provider: Any, expected: bool) -> None:
    assert is_elsewhere(provider) is expected


def test_managers_elsewhere_are_told_all_addresses_at_one_port_and_nobody_is_taken_for_a_stranger() -> None:
    with pool_with() as pool:
        places = [reach.split(address) for address in told(pool)]
        assert [host for host, _ in places] == addresses.get_all_addresses()
        (port,) = {port for _, port in places}
        assert 54000 <= port <= 55000
        assert listened(pool) in ({"::"}, {"0.0.0.0"})
        _, dropped = pool._backend.manager_loads()
        assert dropped == 0
        (manager,) = pool._backend.workers.managers.values()
        parts = Arrangement(inside=False).parts(pool)
        ends = [each for each in parts.interchange.net_connections("tcp") if each.status == psutil.CONN_ESTABLISHED]
        assert len(ends) == 1 and manager.pid == parts.manager.pid


@pytest.mark.parametrize(
    ("elsewhere", "address", "hosts"),
    [
        (True, "127.0.0.5", ["127.0.0.5"]),
        (False, "127.0.0.0/30", ["127.0.0.1"]),
        (True, "lo", ["127.0.0.1", "::1"]),
        (False, "[::1]", ["::1"]),
    ],
)
def test_only_what_is_named_is_listened_at(elsewhere: bool, address: str, hosts: list[str]) -> None:
    if "::1" in hosts and not HAS_IPV6:
        pytest.skip("this machine's loopback interface has no IPv6 address")
    with pool_with(elsewhere, address=address) as pool:
        assert [reach.split(each)[0] for each in told(pool)] == hosts
        assert listened(pool) == set(hosts)


def test_a_host_name_is_told_beside_what_it_stands_for_here() -> None:
    with pool_with(address="localhost") as pool:
        hosts = [reach.split(each)[0] for each in told(pool)]
        assert hosts[0] == "localhost" and set(hosts[1:]) == listened(pool) <= {"127.0.0.1", "::1"}


def test_an_address_that_is_passed_on_to_this_machine_is_told_first(caplog: pytest.LogCaptureFixture) -> None:
    """As behind a router; or a name that means nothing here."""
    with pool_with(address="no.such.host.invalid") as pool:
        assert [reach.split(each)[0] for each in told(pool)] == ["no.such.host.invalid", *addresses.get_all_addresses()]
    assert "no.such.host.invalid" in caplog.text and "listening at all addresses" in caplog.text


def test_a_manager_that_finds_no_way_is_quoted_in_the_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(MeetingPlace, "addresses", lambda self: [f"tcp://no.such.host.invalid:{self.port}"])
    with pool_with(address_probe_timeout=0.5) as pool:
        error = pool.submit(abs, -1).exception(50)
    assert isinstance(error, PoolBroken)
    assert "no interchange can be reached from" in str(error) and "exit code 4" in str(error)
    assert "tcp://no.such.host.invalid:54" in str(error) and "What can be done" in str(error)


def test_on_this_machine_an_address_of_another_one_is_an_error() -> None:
    for address in ("no.such.host.invalid", "203.0.113.0/24", "203.0.113.7"):
        with pool_with(elsewhere=False, address=address) as pool, pytest.raises(Exception, match="of this machine"):
            pool.submit(abs, -1)


# ---- nodes that have files of their own


class OwnFiles(LocalProvider):
    """Its nodes see nothing of this machine but what is brought to them."""

    sees_our_files = False

    def __init__(self, there: Path, fails: int = 0) -> None:
        path = f"export PATH={os.path.dirname(sys.executable)}:$PATH PYTHONPATH={ROOT}"
        super().__init__(launcher=OtherNode(debug=False), worker_init=path)
        self._there, self._fails = there, fails
        self.brought = 0

    def bring(self, path: str) -> str:
        self.brought += 1
        if self.brought <= self._fails:
            raise ExecutionProviderException("no way there")
        shutil.copy(path, self._there / "new")
        os.replace(self._there / "new", self._there / "brought")
        return str(self._there / "brought")


def through(provider: OwnFiles) -> ParslPoolExecutor:
    executor = HighThroughputExecutor(max_workers_per_node=1, provider=provider)
    return ParslPoolExecutor(Config([executor], run_dir=None))


def test_the_ticket_is_brought_to_nodes_with_files_of_their_own(tmp_path: Path) -> None:
    provider = OwnFiles(tmp_path, fails=2)
    with through(provider) as pool:
        assert pool.submit(abs, -1).result(30) == 1
        assert str(tmp_path / "brought") in Arrangement(inside=False).parts(pool).manager.cmdline()
        assert provider.brought == 3
        before = Arrangement(inside=False).parts(pool).interchange
        before.kill()
        eventually(lambda: pool._backend.link._process.pid != before.pid)
        assert pool.submit(abs, -2).result(30) == 2  # the next interchange is where the ticket says


def test_where_it_can_never_be_brought_the_pool_breaks_and_says_why(tmp_path: Path) -> None:
    with through(OwnFiles(tmp_path, fails=100)) as pool:
        error = pool.submit(abs, -1).exception(30)
    assert isinstance(error, PoolBroken)
    assert "managers can't be told how to find the interchange: ExecutionProviderException: no way there" in str(error)


# ---- ports


def free_ports(count: int) -> tuple[int, ...]:
    """So many that are free now."""
    doors = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = tuple(door.getsockname()[1] for door in doors)
    for door in doors:
        door.close()
    return ports


def test_of_two_ports_the_second_is_used_if_the_first_is_taken() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        (other,) = free_ports(1)
        ports = (taken.getsockname()[1], other)
        with pool_with(elsewhere=False, worker_ports=ports, worker_port_range=(1, 2)) as pool:
            assert told(pool) == [f"tcp://127.0.0.1:{other}"]


def test_the_loopback_address_can_be_another_one() -> None:
    (port,) = free_ports(1)
    with pool_with(elsewhere=False, loopback_address="127.0.0.9", worker_ports=(port, port)) as pool:
        assert told(pool) == [f"tcp://127.0.0.9:{port}"]


def test_one_port_is_used_for_all_hosts() -> None:
    assert endpoints(["10.0.0.1", "fd00::1"], (7, 9)) == [
        "tcp://10.0.0.1:7 tcp://[fd00::1]:7", "tcp://10.0.0.1:9 tcp://[fd00::1]:9",
    ]  # fmt: skip
    assert endpoints(["::1"], None) == ["tcp://[::1]:*"]


def test_a_range_is_tried_in_an_order_of_the_runs_own() -> None:
    tried = endpoints(["10.0.0.1"], range(54000, 54100))
    assert sorted(tried) == [f"tcp://10.0.0.1:{port}" for port in range(54000, 54100)] != tried


def test_a_tunnel_without_ssh_is_an_error_when_built() -> None:
    for provider in (None, LocalProvider(), SlurmProvider()):
        with pytest.raises(ConfigurationError, match=r"address='tunnel' needs a provider that uses SSH"):
            HighThroughputExecutor(provider=provider, address="tunnel")
