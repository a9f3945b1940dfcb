"""Where things are: directories that all must see, and addresses at which the pool is to be met."""

from __future__ import annotations

import logging
import os
import shutil
import socket
import tempfile
from typing import Any

from parsl_pool.doctor.finding import Finding, good, note, problem, warning
from parsl_pool.errors import ParslPoolError
from parsl_pool.executors.high_throughput import arrangement
from parsl_pool.executors.high_throughput.meeting_place import MeetingPlace
from parsl_pool.executors.high_throughput.where import TUNNEL
from parsl_pool.interchange.reach import split
from parsl_pool.loggers import careful_logger
from parsl_pool.run_directory import RunDirectory

log = careful_logger("parsl_pool.interchange")

_LEAST_ROOM_MB = 100
_OWN = frozenset(("tmpfs", "ramfs", "overlay", "aufs", "squashfs", "devtmpfs"))  # of this machine alone
_SHARED = frozenset(
    "nfs nfs4 lustre gpfs beegfs ceph fuse.ceph cifs smb3 afs panfs glusterfs fuse.glusterfs pvfs2 orangefs wekafs 9p "
    "fuse.sshfs".split()
)


def is_cluster(provider: Any) -> bool:
    """True if its blocks may be on other machines."""
    return not arrangement.is_on_this_host(provider)


def run_directory(config: Any, executor: Any) -> str | None:
    """Below which directory the run's own will be; None: a temporary one."""
    place = getattr(executor, "_place", None)  # threads have none
    chosen = config.run_dir if place is None or place.path is None else place.path
    return None if chosen is None else os.path.abspath(chosen)


def about_directory(path: str | None, provider: Any) -> list[Finding]:
    """Whether the run's files can be written, and the nodes will see them."""
    there = tempfile.gettempdir() if path is None else path
    existing = there
    while not os.path.isdir(existing) and existing != os.path.dirname(existing):
        existing = os.path.dirname(existing)
    try:
        with tempfile.TemporaryFile(dir=existing) as file:
            file.write(b" " * 4096)
        room_mb = shutil.disk_usage(existing).free // 2**20
    except OSError as trouble:
        return [problem("run-dir", f"nothing can be written to {existing}: {trouble}", "give another one by run_dir=")]
    found = []
    if room_mb < _LEAST_ROOM_MB:
        found.append(warning("run-dir-full", f"{existing} has only {room_mb} MB left", "give another one by run_dir="))
    if is_cluster(provider) and provider.sees_our_files:
        found += _about_sharing(path, there, existing)
    return found or [good("run-dir", f"the run's files can be written to {there}")]


def _about_sharing(path: str | None, there: str, existing: str) -> list[Finding]:
    remedy = "run_dir= must be a directory that this machine and the nodes see at the same path"
    if path is None:
        return [problem("run-dir-private", f"the run's files would be in {there}, which nodes do not see", remedy)]
    kind = _file_system(existing)
    if kind in _SHARED:
        return []
    if kind in _OWN or existing.split(os.sep)[1:2] in (["tmp"], ["dev"], ["run"]):
        return [warning("run-dir-private", f"{there} looks like a directory of this machine alone ({kind})", remedy)]
    return [note("run-dir-unknown", f"whether the nodes see {there} ({kind}) can't be told from here: see --run")]


def _file_system(path: str) -> str:
    """The kind of file system that a path is on, as Linux names it; "" where that can't be asked."""
    try:
        with open("/proc/self/mounts", encoding="utf-8", errors="replace") as file:
            mounts = [line.split()[1:3] for line in file]
    except OSError:
        return ""
    best = ("", "")
    for where, kind in mounts:
        where = where.replace("\\040", " ").rstrip("/") + "/"
        if (os.path.realpath(path) + "/").startswith(where) and len(where) >= len(best[0]):
            best = where, kind
    return best[1]


def about_address(executor: Any, provider: Any) -> list[Finding]:
    """Whether the pool can listen where it is to, and what nodes would connect to."""
    said = executor._wishes.where
    directory = RunDirectory()
    heard = _Heard()
    log.addHandler(heard)
    try:
        place = MeetingPlace(
            directory, said, arrangement.is_on_this_host(provider), arrangement.is_elsewhere(provider)
        )
        try:
            addresses = _settled(place)
        finally:
            place.close()
    except (OSError, ParslPoolError) as trouble:
        remedy = "put right address=, worker_ports= or worker_port_range="
        return [problem("address", f"nobody could connect to the pool: {trouble}", remedy)]
    finally:
        log.removeHandler(heard)
        directory.close()
    if heard.texts:
        remedy = "give address= as the nodes know this machine: an interface such as \"ib0\", a host name, an address"
        return [warning("address-elsewhere", " ".join(heard.texts), remedy)]
    if not addresses:
        text = f"none of the ports {said.ports[0]} to {said.ports[-1]} is free" if said.ports else "no port is free"
        return [problem("ports", text, "widen worker_port_range=, or give other worker_ports=")]
    return _about_addresses(said.address, addresses, arrangement.is_elsewhere(provider))


class _Heard(logging.Handler):
    """What is warned of."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.texts: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.texts.append(record.getMessage())


def _about_addresses(said: str | None, addresses: list[str], is_elsewhere: bool) -> list[Finding]:
    shown = ", ".join(address.replace(":0", ":PORT") if address.endswith(":0") else address for address in addresses)
    if said == TUNNEL:
        return [good("address", "managers connect through the tunnel of the SSH connection")]
    if is_elsewhere and all(address.startswith(("tcp://127.", "tcp://[::1]")) for address in addresses):
        return [
            warning(
                "address-loopback", f"nodes would connect to {shown}, which is right only if they are this machine",
                "give address= as the nodes know this machine: an interface such as \"ib0\", a host name, an address",
            )
        ]  # fmt: skip
    return [good("address", f"managers connect to {shown}{', whichever answers first' * (len(addresses) > 1)}")]


def _settled(place: MeetingPlace) -> list[str]:
    """Where managers would connect, if the interchange took the first way to listen that is free; [] if none is."""
    for choice in place.choices():
        endpoints = [choice] if choice.startswith("ipc:") else choice.replace(":*", ":0").split()
        if all(map(_is_free, endpoints)):
            place.settled(" ".join(endpoints))
            return place.addresses()
    return []


def _is_free(endpoint: str) -> bool:
    if not endpoint.startswith("tcp://"):
        return True
    host, port = split(endpoint)
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as zmq does
        try:
            sock.bind((host, port))
        except OSError:
            return False
    return True
