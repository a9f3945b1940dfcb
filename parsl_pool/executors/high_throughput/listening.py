"""Which addresses of this machine an interchange listens at, and which of them managers are told of: see where.py."""

from __future__ import annotations

import ipaddress
import random
import socket
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from parsl_pool import addresses
from parsl_pool.errors import ConfigurationError
from parsl_pool.executors.high_throughput.where import TUNNEL, Where
from parsl_pool.interchange.reach import joined
from parsl_pool.loggers import careful_logger

log = careful_logger("parsl_pool.interchange")

USUAL_PORTS = range(54000, 55001)
"""Where managers are elsewhere: sites that open ports for Parsl have opened these."""

_CONNECT_S = 5.0


class Listening(NamedTuple):
    """Where the interchange is to listen: all of these hosts, at one port."""

    hosts: list[str]
    offered: list[str]  # what managers are told: hosts, too


def endpoints(hosts: list[str], ports: Sequence[int] | None) -> list[str]:
    """For the interchange: each a way to listen at all hosts, at one port."""
    if ports is None:
        return [" ".join(joined(host, "*") for host in hosts)]
    # Runs that start together should not all try the same ports.
    tried = random.sample(ports, len(ports)) if isinstance(ports, range) else ports
    return [" ".join(joined(host, port) for host in hosts) for port in tried]


def listening(where: Where, is_elsewhere: bool) -> Listening:
    """Where to listen for managers, which may be started on other machines.

    Raises:
        OSError: nobody could connect there; managers would try for ever.
    """
    address = where.address
    if address == TUNNEL or (address is None and not is_elsewhere):
        _check(where.loopback, "Is the loopback interface up? With manager_inside=True nothing needs a network")
        return Listening([where.loopback], [where.loopback])
    if address is None:
        return Listening([_every()], addresses.get_all_addresses())
    own = _own_addresses(address)
    if own.found and not (is_elsewhere and own.is_name and _are_loopback(own.found) and not _is_localhost(address)):
        for host in own.found:
            _check(host, "Is it an address of this machine?")
        return Listening(own.found, [address, *own.found] if own.is_name else own.found)
    if not is_elsewhere:
        raise OSError(f"managers can't connect by address={address!r}: {own.problem} Is it an address of this machine?")
    log.warning(
        "managers are to connect by address=%r: %s Perhaps it is another machine's, which passes on what comes: "
        "listening at all addresses of this machine",
        address, own.problem or "here that is the loopback address, which nobody else can use.",
    )  # fmt: skip
    return Listening([_every()], [address, *addresses.get_all_addresses()])


class _Own(NamedTuple):
    """What an address means on this machine."""

    found: list[str]  # its own addresses
    is_name: bool = False
    problem: str = ""  # why there are none


def _own_addresses(address: str) -> _Own:
    if "/" in address:
        network = ipaddress.ip_network(address, strict=False)
        own = addresses.get_all_addresses()
        found = [each for each in own if ipaddress.ip_address(each) in network]
        return _Own(found, problem=f"none of this machine's addresses ({', '.join(own)}) is in that network.")
    if _is_number(address):
        return _Own([address] if _is_here(address) else [], problem="no network interface of this machine has it.")
    if address in (name for _, name in socket.if_nameindex()):
        try:
            return _Own(addresses.of_interface(address))
        except ConfigurationError as problem:
            raise OSError(str(problem)) from None
    try:
        entries = socket.getaddrinfo(address, 0, type=socket.SOCK_STREAM)
    except OSError as problem:
        return _Own([], True, f"it is no interface, and as a host name it is not known here ({problem.strerror}).")
    hosts = list(dict.fromkeys(str(entry[4][0]) for entry in entries))
    return _Own([host for host in hosts if _is_here(host)], True,
                f"that host's addresses ({', '.join(hosts)}) are none of this machine's.")  # fmt: skip


def _is_number(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def _are_loopback(hosts: Iterable[str]) -> bool:
    return all(ipaddress.ip_address(host).is_loopback for host in hosts)


def _is_localhost(name: str) -> bool:
    """Everywhere it is the machine itself: whoever says so means it."""
    return name == "localhost" or name.endswith(".localhost")


def _family(host: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in host else socket.AF_INET


def _is_here(host: str) -> bool:
    try:
        with socket.socket(_family(host)) as server:
            server.bind((host, 0))
    except OSError:
        return False
    return True


def _every() -> str:
    """What stands for all addresses: with those of IPv6, where there are any."""
    return "::" if socket.has_ipv6 and _is_here("::") else "0.0.0.0"


def _check(host: str, hint: str) -> None:
    """Raises OSError if nobody can connect to this machine by that address, or it is another machine's."""
    with socket.socket(_family(host)) as server:
        try:
            server.bind((host, 0))
            connect(server)
        except OSError as problem:
            raise OSError(
                problem.errno,
                f"managers that are processes of their own connect by {host}, which does not work here: {problem}. "
                f"{hint}",
            ) from problem


def connect(server: Any) -> None:
    """Try whether one can connect to a socket that is bound. Raises OSError."""
    server.listen(1)
    with socket.socket(server.family) as client:
        client.settimeout(_CONNECT_S)
        client.connect(server.getsockname())
