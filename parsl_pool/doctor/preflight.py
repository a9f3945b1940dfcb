"""Runs at the head of a block, before the manager: what a node sees of the pool, as one line on stdout.

It is sent as text to whatever Python the node has, so it needs nothing but the standard library, from 3.6 on.
Program: `preflight TICKET`.
"""

import json
import os
import resource
import socket
import sys
import tempfile
import time
from typing import Any

MARK = "PARSL_POOL_CHECK"
PACKAGES = ("zmq", "cloudpickle", "psutil")
CONNECT_S = 5.0


def version_of(name: str) -> str:
    """The version of a module; the error's text if it can't be imported."""
    try:
        return str(getattr(__import__(name), "__version__", "?"))
    except BaseException as problem:  # whatever a broken installation does: it is what we are here to tell
        return f"{type(problem).__name__}: {problem}"


def addresses_of(value: Any) -> "list[str]":
    """All addresses in a ticket, however deep."""
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list):
        return [found for one in value for found in addresses_of(one)]
    return [value] if isinstance(value, str) and value.startswith(("tcp://", "ipc://")) else []


def connected(address: str) -> str:
    """What came of connecting there: "" if it went well."""
    kind, _, where = address.partition("://")
    try:
        if kind == "ipc":
            with socket.socket(socket.AF_UNIX) as sock:
                sock.settimeout(CONNECT_S)
                sock.connect(where)
        else:
            host, _, port = where.rpartition(":")
            socket.create_connection((host.strip("[]"), int(port)), CONNECT_S).close()
        return ""
    except (OSError, ValueError) as problem:
        return str(problem)


def read_ticket(path: str) -> "tuple[list[str], str]":
    """The addresses in the run's ticket, and why there are none."""
    try:
        with open(path) as file:
            return addresses_of(json.load(file)), ""
    except (OSError, ValueError) as problem:
        return [], str(problem)


def main() -> None:
    """Print what there is."""
    addresses, no_ticket = read_ticket(sys.argv[1])
    facts = {
        "host": socket.gethostname(),
        "python": ".".join(map(str, sys.version_info[:3])),
        "executable": sys.executable,
        "packages": {name: version_of(name) for name in PACKAGES},
        "ticket": no_ticket,
        "connect": {address: connected(address) for address in addresses},
        "temporary": os.access(tempfile.gettempdir(), os.W_OK),
        "files": resource.getrlimit(resource.RLIMIT_NOFILE)[0],
        "time": time.time(),
    }
    print(MARK, json.dumps(facts), flush=True)


if __name__ == "__main__":
    main()
