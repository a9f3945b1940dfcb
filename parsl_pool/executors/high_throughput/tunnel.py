"""The way of managers to an interchange that no machine of theirs can reach: through the provider's SSH connections.

    manager ──► login node's address:P ──relay──► 127.0.0.1:P ──sshd, SSH──► 127.0.0.1:port, the interchange
    manager on the far machine itself ─────────► 127.0.0.1:P

Most sshds forward a port to their own loopback address only. So for a cluster, whose managers are on other machines
than its login node, a small program runs there, and passes on what comes to that port of the node's other addresses. If
the sshd does so itself (GatewayPorts), it finds the port taken, and ends. What travels is CURVE's, and none of these
can read it.
"""

from __future__ import annotations

import ipaddress
import pkgutil
import shlex
import threading
from collections.abc import Sequence

from parsl_pool.errors import ExecutionProviderException
from parsl_pool.interchange.reach import joined
from parsl_pool.loggers import careful_logger
from parsl_pool.providers import Channel

log = careful_logger("parsl_pool.interchange")

_LOOPBACK = "127.0.0.1"
_ASK_S = 20.0
_NAMES = "hostname -f 2>/dev/null; hostname; hostname -I 2>/dev/null || hostname -i 2>/dev/null"


class Tunnel:
    """Through one channel or several, to one port of this machine. Belongs to the courier's thread.

    Args:
        is_gate: managers are on machines beyond the channel's, not on that itself.
    """

    def __init__(self, channels: Sequence[Channel], is_gate: bool) -> None:
        self._ways = [_Way(channel, is_gate) for channel in channels]

    def addresses(self, port: int) -> list[str]:
        """Where managers can connect now, to come out at that port here. Called again, it mends what has failed.

        A channel that has no connection now keeps the addresses that it had: managers there may still come by these.

        Raises:
            ExecutionProviderException: no channel has a connection, or a port.
        """
        problems = [problem for way in self._ways if (problem := way.mend(port)) is not None]
        if len(problems) == len(self._ways):
            raise problems[0]
        return [address for way in self._ways for address in way.addresses]

    def join(self) -> None:
        """After the channels were closed: wait for what waits for them."""
        for way in self._ways:
            way.join()


class _Way:
    """Through one channel."""

    def __init__(self, channel: Channel, is_gate: bool) -> None:
        self._channel, self._is_gate = channel, is_gate
        self._hosts: list[str] | None = None  # the far machine's names and addresses
        self._relay: _Relay | None = None
        self._is_broken = False  # that is on the log
        self.addresses: list[str] = []

    def mend(self, port: int) -> ExecutionProviderException | None:
        """See that it leads to that port. What is given is why it does not."""
        try:
            self.addresses = self._opened(port)
        except ExecutionProviderException as problem:
            if not self._is_broken:
                log.warning("%s: no tunnel comes from there now: %s", self._channel.label, problem)
            self._is_broken = True
            return problem
        self._is_broken = False
        return None

    def _opened(self, port: int) -> list[str]:
        there = self._channel.open_reverse(port)
        if not self._is_gate:
            return [joined(_LOOPBACK, there)]
        if self._hosts is None:
            self._hosts = _hosts(self._channel)
        if self._relay is None or self._relay.is_over(there):
            self._relay = _Relay(self._channel, there, [host for host in self._hosts if _is_number(host)])
        return [joined(host, there) for host in [*self._hosts, _LOOPBACK]]

    def join(self) -> None:
        if self._relay is not None:
            self._relay.join()


class _Relay:
    """The program on the far machine, and a thread that waits for its end: that of the connection, as a rule."""

    def __init__(self, channel: Channel, port: int, hosts: list[str]) -> None:
        self._channel, self._port = channel, port
        source = pkgutil.get_data(__package__, "relay_program.py")
        assert source is not None
        self._command = shlex.join(["python3", "-c", source.decode(), str(port), *hosts])
        self._is_needed = True
        self._thread = threading.Thread(target=self._run, name=f"parsl-pool-relay-{channel.label}", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            result = self._channel.execute_wait(self._command)
        except ExecutionProviderException as problem:  # the connection was cut, or closed
            log.info("%s: nothing passes port %d on any more: %s", self._channel.label, self._port, problem)
            return
        # It ends by itself only if it can do nothing: the sshd listens at all addresses, or there is no Python.
        self._is_needed = False
        level = log.warning if result.code else log.info
        level("%s: nothing has to, or can, pass port %d on (exit code %d): %s",
              self._channel.label, self._port, result.code, result.stderr.strip())  # fmt: skip

    def is_over(self, port: int) -> bool:
        """True if another one should be started for this port."""
        return port != self._port or (self._is_needed and not self._thread.is_alive())

    def join(self) -> None:
        self._thread.join()


def _hosts(channel: Channel) -> list[str]:
    """What other machines may call the channel's, addresses first: those work more often."""
    said = channel.execute_wait(_NAMES, _ASK_S).stdout.split()
    words = [word for word in dict.fromkeys(said) if not _is_of_no_use(word)]
    return sorted(words, key=lambda word: not _is_number(word))


def _is_number(word: str) -> bool:
    try:
        ipaddress.ip_address(word)
    except ValueError:
        return False
    return True


def _is_of_no_use(word: str) -> bool:
    if not _is_number(word):
        return word.startswith("localhost") or not word.replace("-", "").replace(".", "").replace("_", "").isalnum()
    address = ipaddress.ip_address(word)
    return address.is_loopback or address.is_link_local
