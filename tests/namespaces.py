"""Networks of a test's own: hosts that are network namespaces, wires between them, addresses that lead nowhere.

    net = Networks();  home, node = net.host(), net.host();  net.wire(home, "10.231.1.1/24", node, "10.231.1.2/24")
"""

import os
import shutil
import subprocess
from collections.abc import Iterator

import pytest

from parsl_pool import portable


def why_not() -> str:
    """Why there can be none here; "" if there can be."""
    if not portable.has_proc() or shutil.which("ip") is None:
        return "network namespaces need Linux, and ip (Debian: iproute2)"
    if os.getuid() != 0:
        return "network namespaces need root"
    name = f"pp-try-{os.getpid()}"
    made = subprocess.run(["ip", "netns", "add", name], capture_output=True, text=True, check=False)
    if made.returncode:
        return f"network namespaces can't be made here: {made.stderr.strip()}"
    run("netns", "del", name)
    return ""


def run(*words: str) -> None:
    """Have ip do that. Raises AssertionError with what it says."""
    done = subprocess.run(["ip", *words], capture_output=True, text=True, check=False, timeout=20)
    assert not done.returncode, f"ip {' '.join(words)}: {done.stderr}"


class Networks:
    """Hosts and wires. Their names are of this process alone."""

    def __init__(self) -> None:
        self._hosts: list[str] = []
        self._wires = 0

    def host(self) -> str:
        """A new one, whose own interface is up, and nothing else."""
        name = f"pp{os.getpid()}-{len(self._hosts)}"
        run("netns", "add", name)
        self._hosts.append(name)
        run("-n", name, "link", "set", "lo", "up")
        return name

    def wire(self, host: str, addresses: str, other: str, others: str) -> tuple[str, str]:
        """Between two hosts. Addresses are divided by blanks. Gives the interfaces' names."""
        self._wires += 1
        ends = f"w{self._wires}a", f"w{self._wires}b"
        run("link", "add", ends[0], "netns", host, "type", "veth", "peer", "name", ends[1], "netns", other)
        for name, end, some in ((host, ends[0], addresses), (other, ends[1], others)):
            for address in some.split():
                more = ["nodad"] if ":" in address else []  # else it may not be used for a second
                run("-n", name, "addr", "add", address, "dev", end, *more)
            run("-n", name, "link", "set", end, "up")
        return ends

    def black_hole(self, host: str, seen_by: str, address: str) -> None:
        """One more address of a host; what `seen_by` sends there is lost on the way, as in a firewall that drops it."""
        run("-n", host, "addr", "add", f"{address}/32", "dev", "lo")
        run("-n", seen_by, "route", "add", f"{address}/32", "via", self.abyss(seen_by))

    def abyss(self, host: str) -> str:
        """The address of a neighbour of that host which takes what is sent by way of it, and passes nothing on."""
        drop = self.host()  # it forwards nothing
        near, far = f"10.231.{100 + self._wires}.1", f"10.231.{100 + self._wires}.2"
        self.wire(host, f"{near}/24", drop, f"{far}/24")
        return far

    def close(self) -> None:
        """Wires end with their hosts."""
        for name in self._hosts:
            run("netns", "del", name)


@pytest.fixture
def networks() -> Iterator[Networks]:
    if problem := why_not():
        pytest.skip(problem)
    networks = Networks()
    try:
        yield networks
    finally:
        networks.close()
