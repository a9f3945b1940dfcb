"""`address="tunnel"` to a cluster: the client reaches its login node alone, the node with the manager reaches no more.

    home ──ssh──► login ◄══ node        network namespaces, so this needs root; one wire of two leads nowhere in the end
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import psutil
import pytest

from tests.eventually import eventually
from tests.namespaces import Networks, networks
from tests.services.sshd import PROGRAM as SSHD
from tests.services.sshd import Sshd, needs_sshd, public
from tests.services.test_adhoc import INIT

pytestmark = [needs_sshd, pytest.mark.service, pytest.mark.timeout(120)]

__all__ = ["networks"]  # the fixture

PROGRAM = """
import json, os, subprocess, time
from parsl_pool import Config, HighThroughputExecutor, ParslPoolExecutor
from parsl_pool.interchange import curve
from parsl_pool.providers import LocalProvider, SlurmProvider
from parsl_pool.providers.channels.ssh import SSHChannel
from parsl_pool.providers.node_launchers import NodeLauncher
from tests.eventually import eventually

class OtherHost(NodeLauncher):
    def text(self, tasks_per_node, nodes):
        return 'ip netns exec {node} /bin/bash -c "$parsl_pool_command"\\n'

class Cluster(SlurmProvider):
    # A cluster behind a login node, whose scheduler is our own provider: what is tested is the way home.
    def __init__(self):
        super().__init__(channel=SSHChannel("login", config_filename={config!r}))
        self.local = LocalProvider(launcher=OtherHost(debug=False), worker_init={init!r})
        self.status_polling_interval = 1
    def submit(self, command, tasks_per_node, job_name="job"):
        self.local.script_dir = self.script_dir
        return self.local.submit(command, tasks_per_node, job_name)
    def status(self, jobs): return self.local.status(jobs)
    def cancel(self, jobs): return self.local.cancel(jobs)

def ip(*words):
    return subprocess.run(["ip", *words], capture_output=True, text=True, check=True).stdout

def ways():
    # The login node's addresses to which the node has connections.
    lines = ip("netns", "exec", "{node}", "ss", "-Htn", "state", "established").splitlines()
    return {{line.split()[3].rpartition(":")[0].strip("[]").replace("::ffff:", "") for line in lines}}

def seen():
    return subprocess.run(["ip", "-o", "addr"], capture_output=True, text=True).stdout

executor = HighThroughputExecutor(provider=Cluster(), address="tunnel", max_workers_per_node=1, lost_retries=0,
                                  heartbeat_period=1, heartbeat_threshold=15)
with ParslPoolExecutor(Config([executor], run_dir=None)) as pool:
    outcome = dict(seen=pool.submit(seen).result(60))
    outcome["told"] = curve.read_ticket(pool._backend.link._apart._ticket).addresses
    outcome["large"] = len(pool.submit(bytes, 3_000_000).result(30))
    futures = [pool.submit(time.sleep, 0.01) for _ in range(300)]
    futures[50].result(60)
    managers = set(pool._backend.workers.managers)
    if {what!r} == "a black hole":
        (lost,) = ways()
        ip("-n", "{node}", "route", "replace", lost + "/32", "via", "{abyss}")
        eventually(lambda: ways() - {{lost}}, within=60)
    if {what!r} == "cut":
        for name in subprocess.run(["ip", "netns", "pids", "{login}"], capture_output=True, text=True).stdout.split():
            if int(name) != {sshd}:
                subprocess.run(["kill", "-9", name])
    outcome["after"] = [future.result(60) for future in futures] == [None] * 300
    outcome["same"] = set(pool._backend.workers.managers) == managers
print(json.dumps(outcome))
"""


class Site(NamedTuple):
    """Where the client is; the login node and its sshd; a node."""

    home: str
    login: str
    node: str
    abyss: str
    sshd: int
    config: Path


@pytest.fixture(params=["no", "yes"], ids=lambda word: f"GatewayPorts {word}")
def site(networks: Networks, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Site]:
    home, login, node = networks.host(), networks.host(), networks.host()
    networks.wire(home, "10.231.1.1/24", login, "10.231.1.2/24")
    networks.wire(login, "10.231.2.1/24", node, "10.231.2.2/24")
    networks.wire(login, "10.231.3.1/24", node, "10.231.3.2/24")
    abyss = networks.abyss(node)
    files = Sshd(tmp_path / "sshd")
    files.stop()
    text = (files.folder / "sshd_config").read_text().replace(f"127.0.0.1:{files.port}", "10.231.1.2:22")
    (files.folder / "sshd_config").write_text(f"{text}GatewayPorts {request.param}\n")
    files.known_hosts.write_text(f"10.231.1.2 {public(files.host_key)}")
    files.config.write_text(files.config.read_text().replace("Host here", "Host login")
                            .replace("127.0.0.1", "10.231.1.2").replace(str(files.port), "22"))  # fmt: skip
    with (files.folder / "log").open("a") as log:
        process = subprocess.Popen(
            ["ip", "netns", "exec", login, str(SSHD), "-D", "-e", "-f", str(files.folder / "sshd_config")],
            stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
        )  # fmt: skip
    eventually(lambda: "Server listening" in (files.folder / "log").read_text())
    yield Site(home, login, node, abyss, process.pid, files.config)
    for child in psutil.Process(process.pid).children(recursive=True):
        child.kill()
    process.kill()
    process.wait()


def inside(host: str) -> list[psutil.Process]:
    """The processes on a host."""
    pids = subprocess.run(["ip", "netns", "pids", host], capture_output=True, text=True, check=True).stdout.split()
    return [psutil.Process(int(pid)) for pid in pids]


def outcome(site: Site, what: str) -> dict[str, Any]:
    options = {**site._asdict(), "config": str(site.config)}
    text = PROGRAM.format(init=INIT, what=what, **options)
    done = subprocess.run(
        ["ip", "netns", "exec", site.home, sys.executable, "-c", text], capture_output=True, text=True, timeout=100,
        check=False,
    )  # fmt: skip
    assert not done.returncode, done.stderr
    told: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return told


@pytest.mark.parametrize("what", ["", "cut", "a black hole"])
def test_a_node_that_reaches_the_login_node_alone_comes_home(site: Site, what: str) -> None:
    """what: becomes of the connection in the midst of the work."""
    found = outcome(site, what)
    assert "10.231.2.2" in found["seen"] and "10.231.1.1" not in found["seen"]
    hosts = [address.removeprefix("tcp://").rpartition(":")[0] for address in found["told"]]
    assert set(hosts[:3]) == {"10.231.1.2", "10.231.2.1", "10.231.3.1"} and hosts[-1] == "127.0.0.1"
    assert found["large"] == 3_000_000 and found["after"] and found["same"]
    eventually(lambda: [process.pid for process in inside(site.login)] == [site.sshd])  # no relay, no session
    assert inside(site.node) == []
