"""An address of the client's machine that leads nowhere from one moment to the next: managers go on by another one.

    home ══two wires══ node        network namespaces, so this needs root; nobody is told that packets are lost
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.namespaces import Networks, networks

pytestmark = [pytest.mark.service, pytest.mark.timeout(120)]

__all__ = ["networks"]  # the fixture

PROGRAM = """
import json, subprocess, time
from parsl_pool import Config, HighThroughputExecutor, ParslPoolExecutor
from parsl_pool.providers import LocalProvider
from parsl_pool.providers.node_launchers import NodeLauncher
from tests.eventually import eventually
from tests.recovery.arrangement import Arrangement

class OtherHost(NodeLauncher):
    def text(self, tasks_per_node, nodes):
        return 'ip netns exec {node} /bin/bash -c "$parsl_pool_command"\\n'

def triple(number):
    time.sleep(0.02)
    return 3 * number

def lose(host, address, gateway):
    subprocess.run(["ip", "-n", host, "route", "replace", f"{{address}}/32", "via", gateway], check=True)

executor = HighThroughputExecutor(
    provider=LocalProvider(launcher=OtherHost(debug=False)), max_workers_per_node=2, manager_inside=False,
    heartbeat_period={beat}, heartbeat_threshold={threshold}, address={address!r}
)
with ParslPoolExecutor(Config([executor], run_dir={run_dir!r}, initialize_logging=True, lost_retries=0)) as pool:
    futures = [pool.submit(triple, number) for number in range(600)]
    eventually(lambda: sum(future.done() for future in futures) >= 50, within=60)
    interchange, managers = Arrangement(inside=False).parts(pool).interchange, set(pool._backend.workers.managers)

    def ways():
        return {{(each.laddr.ip.removeprefix("::ffff:"), each.raddr.ip.removeprefix("::ffff:"))
                 for each in interchange.net_connections("tcp") if each.raddr}}

    ((here, there),) = ways()
    lose({node!r}, here, {from_node!r})
    if {both}:
        lose({home!r}, there, {from_home!r})
    outcome = dict(lost=here, right=[future.result(60) for future in futures] == [3 * n for n in range(600)])
    outcome["same"] = set(pool._backend.workers.managers) == managers
    outcome["now"] = sorted(each for each, _ in ways() - {{(here, there)}})
    outcome["after"] = pool.submit(abs, -1).result(60)
print(json.dumps(outcome))
"""


def outcome(
    networks: Networks, run_dir: Path, address: str | None, both: bool = True, beat: float = 1.0, threshold: int = 15
) -> dict[str, Any]:
    """What came of a pool at home, with a manager on the node. both: the packets of both get lost, not only its."""
    home, node = networks.host(), networks.host()
    networks.wire(home, "10.231.1.1/24", node, "10.231.1.2/24")
    networks.wire(home, "10.231.2.1/24", node, "10.231.2.2/24")
    text = PROGRAM.format(
        home=home, node=node, from_home=networks.abyss(home), from_node=networks.abyss(node), address=address,
        run_dir=str(run_dir), both=both, beat=beat, threshold=threshold,
    )  # fmt: skip
    done = subprocess.run(
        ["ip", "netns", "exec", home, sys.executable, "-c", text], capture_output=True, text=True, timeout=110,
        check=False,
    )  # fmt: skip
    assert not done.returncode, done.stderr
    told: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return told


@pytest.mark.parametrize("address", [None, "10.231.0.0/16"], ids=["all", "network"])
def test_managers_go_on_by_another_address_and_nothing_is_lost(
    networks: Networks, tmp_path: Path, address: str | None
) -> None:
    found = outcome(networks, tmp_path, address)
    assert found["right"] and found["same"] and found["after"] == 1
    (other,) = {"10.231.1.1", "10.231.2.1"} - {found["lost"]}
    assert found["now"] == [other]
    (log,) = tmp_path.rglob("manager-*.log")
    said = log.read_text()
    assert f"nothing came from tcp://{found['lost']}:54" in said
    assert f"connected to the interchange at tcp://{other}" in said
    assert any(f"and goes on by tcp://{other}" in path.read_text() for path in tmp_path.rglob("parsl*.log"))


def test_a_manager_that_hears_and_is_not_heard_goes_on_by_another_address(networks: Networks, tmp_path: Path) -> None:
    """The interchange's signs of life arrive, so it is the system that notices: nobody acknowledges what is sent."""
    found = outcome(networks, tmp_path, None, both=False, beat=0.5, threshold=30)
    assert found["right"] and found["same"] and found["after"] == 1
    assert found["now"] == list({"10.231.1.1", "10.231.2.1"} - {found["lost"]})
