"""A pool whose managers are on another host, over real networks between: some addresses lead there, and some nowhere.

The hosts are network namespaces, so this needs root. Managers see the same files and processes as the client.
"""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.namespaces import Networks, networks

pytestmark = [pytest.mark.service, pytest.mark.timeout(90)]

__all__ = ["networks"]  # the fixture

PROGRAM = """
import json, os, subprocess, sys
from parsl_pool import Config, HighThroughputExecutor, ParslPoolExecutor
from parsl_pool.interchange import curve
from parsl_pool.providers import LocalProvider
from parsl_pool.providers.node_launchers import NodeLauncher
from tests.recovery.arrangement import Arrangement, listening

class OtherHost(NodeLauncher):
    def text(self, tasks_per_node, nodes):
        return 'ip netns exec {node} /bin/bash -c "$parsl_pool_command"\\n'

def seen():
    return subprocess.run(["ip", "-o", "addr"], capture_output=True, text=True).stdout

provider = LocalProvider(launcher=OtherHost(debug=False))
executor = HighThroughputExecutor(provider=provider, max_workers_per_node=1, manager_inside=False, **{options!r})
with ParslPoolExecutor(Config([executor], run_dir={run_dir!r}, initialize_logging=True)) as pool:
    future = pool.submit(seen)
    outcome = dict(error=str(future.exception(60)))
    if future.exception() is None:
        outcome["seen"] = future.result()
        outcome["told"] = curve.read_ticket(pool._backend.link._apart._ticket).addresses
        interchange = Arrangement(inside=False).parts(pool).interchange
        outcome["listens"] = sorted(each.laddr.ip for each in listening(interchange))
        outcome["from"] = [each.raddr.ip for each in interchange.net_connections("tcp") if each.raddr]
        outcome["large"] = len(pool.submit(bytes, 3_000_000).result(30))
        outcome["dropped"] = pool._backend.manager_loads()[1]
print(json.dumps(outcome))
"""


class Hosts(NamedTuple):
    """One with the client, and one with the manager; the ways between them."""

    home: str
    node: str
    interface: str


@pytest.fixture
def hosts(networks: Networks) -> Hosts:
    home, node = networks.host(), networks.host()
    interface, _ = networks.wire(home, "10.231.1.1/24 fd31::1/64", node, "10.231.1.2/24 fd31::2/64")
    networks.black_hole(home, node, "10.231.9.9")
    return Hosts(home, node, interface)


def outcome(hosts: Hosts, run_dir: Path, **options: Any) -> dict[str, Any]:
    """What came of a pool at home, with a manager on the node."""
    text = PROGRAM.format(node=hosts.node, options=options, run_dir=str(run_dir))
    done = subprocess.run(
        ["ip", "netns", "exec", hosts.home, sys.executable, "-c", text], capture_output=True, text=True, timeout=80,
        check=False,
    )  # fmt: skip
    assert not done.returncode, done.stderr
    told: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return told


def manager_said(run_dir: Path) -> str:
    """On the standard error of its job."""
    return "".join(path.read_text() for path in run_dir.rglob("blocks/*") if path.is_file())


def test_nothing_has_to_be_said_and_the_way_is_found(hosts: Hosts, tmp_path: Path) -> None:
    found = outcome(hosts, tmp_path)
    assert "10.231.1.2" in found["seen"] and "10.231.1.1/" not in found["seen"], found["error"]
    hosts_told = {address.removeprefix("tcp://").rpartition(":")[0] for address in found["told"]}
    assert hosts_told == {"10.231.1.1", "[fd31::1]", "10.231.9.9", "127.0.0.1", "[::1]"}
    assert found["listens"] in (["::"], ["0.0.0.0"])
    (peer,) = found["from"]
    assert peer in ("fd31::2", "10.231.1.2", "::ffff:10.231.1.2")
    assert "connected to the interchange at tcp://" in (said := manager_said(tmp_path))
    assert "10.231.9.9:54" in said and "(no answer yet)" in said
    assert found["large"] == 3_000_000 and found["dropped"] == 0


@pytest.mark.parametrize(
    ("address", "listens"),
    [("fd31::1", ["fd31::1"]), ("10.231.1.0/24", ["10.231.1.1"]), ("w1a", ["10.231.1.1", "fd31::1"])],
    ids=["IPv6", "network", "interface"],
)
def test_what_is_named_is_listened_at_and_nothing_else(
    hosts: Hosts, tmp_path: Path, address: str, listens: list[str]
) -> None:
    assert hosts.interface == "w1a"
    found = outcome(hosts, tmp_path, address=address)
    assert "10.231.1.2" in found["seen"], found["error"]
    assert found["listens"] == listens


def test_an_address_that_leads_nowhere_is_told_with_what_can_be_done(hosts: Hosts, tmp_path: Path) -> None:
    found = outcome(hosts, tmp_path, address="10.231.9.9", address_probe_timeout=0.5)
    assert "no interchange can be reached from" in found["error"]
    assert "tcp://10.231.9.9:54" in found["error"] and "a firewall drops it" in found["error"]
    assert "worker_port_range=" in found["error"] and 'address="tunnel"' in found["error"]
