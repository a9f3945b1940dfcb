"""Where managers apart are to connect: what the user has said of it. listening.py has what that means here.

    address=            listened at                      managers are told
    None, all here      a unix socket                    the same
    None, elsewhere     every address                    every address: they take the first that answers
    "10.0.0.7"          that one                         that one
    "ib0", "10.0.0.0/8" those of the interface, network  these
    "login1"            what the name stands for here    the name, and these
    "tunnel"            the loopback address             the far ends of tunnels
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from parsl_pool import checks
from parsl_pool.errors import ConfigurationError

LOOPBACK = "127.0.0.1"
TUNNEL = "tunnel"


class Where(NamedTuple):
    """What the user has said."""

    address: str | None
    ports: Sequence[int] | None  # any of them
    loopback: str
    patience_s: float  # that managers have until they have reached the interchange


def checked_where(
    address: object, worker_ports: object, worker_port_range: object, interchange_port_range: object,
    loopback_address: object, address_probe_timeout: object, provider: Any,
) -> Where:  # fmt: skip
    """Raises ConfigurationError."""
    fixed = checks.optional(checks.port_pair)("worker_ports", worker_ports)
    some = checks.optional(checks.port_range)("worker_port_range", worker_port_range)
    checks.optional(checks.port_range)("interchange_port_range", interchange_port_range)  # it needs no port
    loopback = checks.optional(checks.loopback)("loopback_address", loopback_address)
    where = Where(
        checks.optional(checks.place)("address", address),
        fixed or (range(some[0], some[1] + 1) if some else None),
        loopback or LOOPBACK,
        checks.seconds("address_probe_timeout", address_probe_timeout),
    )
    _check_tunnel(where, provider)
    return where


def _check_tunnel(where: Where, provider: Any) -> None:
    """Raises ConfigurationError if there is to be a tunnel, and nothing that it could go through."""
    if where.address != TUNNEL:
        return
    channels = provider.channels() if provider is not None else []
    missing = [channel.label for channel in channels if channel.is_shared]  # they lead to this machine
    if missing or not channels:
        name = type(provider).__name__ if provider is not None else "None"
        by = f", whose channel is {', '.join(missing)}" if missing else ""
        raise ConfigurationError(
            "address='tunnel' needs a provider that uses SSH, such as SlurmProvider(channel=SSHChannel(...)), got "
            f"provider={name}{by}; without SSH, leave address= away, or name an address of this machine"
        )
