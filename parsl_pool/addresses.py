"""Addresses of this machine, by which workers elsewhere may reach it: for `HighThroughputExecutor(address=...)`.

Which of them is right depends on the network. Without `address=` none has to be chosen: managers elsewhere get all of
them, and take the first one that answers. Only `address_by_query` and `probe_addresses` ever send anything.
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Iterable
from typing import Any

from parsl_pool import checks
from parsl_pool.errors import ConfigurationError
from parsl_pool.interchange import reach

# Of the networks that are kept for documents: nobody has them, so every route to them is the default one.
_FAR = ((socket.AF_INET, "198.51.100.1"), (socket.AF_INET6, "2001:db8::1"))
_ANSWER_MOST = 200  # bytes: an address has 45 at most

_SECONDS = checks.seconds
_PORT = checks.whole(least=1, most=65535)
_HOSTS = checks.list_of(checks.name, "a list of addresses or host names")


def address_by_hostname() -> str:
    """This machine's name. It is of use if workers can find out which address belongs to it."""
    return socket.gethostname()


def address_by_interface(ifname: str) -> str:
    """The address of a network interface, such as "ib0": its IPv4 address; if it has none, its IPv6 address.

    Raises:
        ConfigurationError: there is no such interface, or it has no address that others can use.
    """
    return of_interface(ifname)[0]


def of_interface(ifname: str) -> list[str]:
    """All addresses of a network interface that others can use, at least one, those of IPv4 first.

    Raises:
        ConfigurationError: as for `address_by_interface`.
    """
    ifname = checks.name("ifname", ifname)
    interfaces = _by_interface()
    if ifname not in interfaces:
        raise ConfigurationError(
            f"ifname must be a network interface of this machine, got {ifname!r}; there are: {', '.join(interfaces)}"
        )
    if not interfaces[ifname]:
        raise ConfigurationError(f"ifname={ifname!r}: that network interface has no address that others can use")
    return interfaces[ifname]


def address_by_route() -> str:
    """The address from which this machine talks to networks that it knows nothing of. Nothing is sent.

    Raises:
        OSError: it has no way to such networks.
    """
    for family, far in _FAR:
        try:
            with socket.socket(family, socket.SOCK_DGRAM) as sock:
                sock.connect((far, 9))  # of a datagram socket that only asks for the route
                return str(sock.getsockname()[0])
        except OSError:
            continue
    raise OSError("this machine has no default route, so none of its addresses is the one of that route")


def address_by_query(timeout: float = 30, url: str | None = None) -> str:
    """The address that a service outside sees when this machine asks it. Behind a router it is the router's.

    Args:
        timeout: seconds that it may take, in all.
        url: of a service that answers with the address of who asks, and nothing else. There is no default: nobody is
            told of you whom you have not named.

    Raises:
        ConfigurationError: url is missing, or is no http or https address.
        TimeoutError: there was no whole answer in time.
        OSError: there was none, or it is no address.
    """
    timeout = _SECONDS("timeout", timeout)
    if url is None:
        raise ConfigurationError(
            "address_by_query needs url=, a service that answers with the address of who asks (your site may have "
            "one); there is no default, for whoever is asked learns of you"
        )
    from parsl_pool.address_query import query  # http.client takes as long to load as all else here

    return query(checks.name("url", url), timeout, _ANSWER_MOST)


def get_all_addresses() -> list[str]:
    """All addresses of this machine that others may be able to use, the likeliest first, then those of itself alone."""
    addresses = [address for some in _by_interface().values() for address in some]
    try:
        first = address_by_route()
    except OSError:
        first = ""

    def rank(address: str) -> tuple[bool, bool, bool]:
        return ipaddress.ip_address(address).is_loopback, address != first, ":" in address

    return sorted(dict.fromkeys(addresses), key=rank)


def probe_addresses(addresses: Iterable[str], port: int, timeout: float = 30) -> str:
    """The first of these addresses or host names where somebody answers at that port. All are tried at once.

    Raises:
        OSError: nobody answers; the text has what became of each.
    """
    port, timeout = _PORT("port", port), _SECONDS("timeout", timeout)
    hosts = {reach.joined(host.strip("[]"), port): host for host in _HOSTS("addresses", addresses)}
    answers = reach.ask(hosts, timeout, until_first=True)
    for address, answer in answers.items():
        if not answer:
            return hosts[address]
    told = "".join(f"\n  {address}: {answer}" for address, answer in answers.items())
    raise OSError(f"nobody answers at any of these addresses:{told or ' there are none'}")


def _by_interface() -> dict[str, list[str]]:
    """The addresses of each interface, those of IPv4 first. Left out are those of interfaces that are down, and those
    that mean something on one cable only."""
    import psutil  # late: few need it

    states = psutil.net_if_stats()
    found: dict[str, list[str]] = {}
    for name, entries in psutil.net_if_addrs().items():
        is_up = name not in states or states[name].isup
        both = [[entry.address for entry in entries if entry.family == family and _is_of_use(entry)]
                for family in (socket.AF_INET, socket.AF_INET6)]  # fmt: skip
        found[name] = both[0] + both[1] if is_up else []
    return found


def _is_of_use(entry: Any) -> bool:
    address = ipaddress.ip_address(entry.address)
    return not address.is_link_local and not address.is_unspecified
