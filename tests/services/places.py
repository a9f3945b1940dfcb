"""Where tasks with files run: threads, this machine's processes in both arrangements, and hosts that share nothing."""

from __future__ import annotations

import contextlib
import dataclasses
import getpass
import shlex
import shutil
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from parsl_pool import Config, HighThroughputExecutor, ParslPoolExecutor, ThreadPoolExecutor
from parsl_pool.providers import AdHocProvider
from parsl_pool.providers.channels.ssh import SSHChannel
from parsl_pool.staging import Transfer
from tests.eventually import eventually
from tests.services import stores
from tests.services.errands import where
from tests.services.hosts import Hosts
from tests.services.store_servers import Servers

ROOT = Path(__file__).parents[2]
LOCAL = ("threads", "inside", "apart")
FAR = "hosts"
STYLES = {"in task": stores.in_task, "by tasks": stores.by_tasks}


@dataclass
class Place:
    """One of them, with its pool.

    Attributes:
        style: the way in which files are brought there.
        working: the directories for them, as they are seen from here.
        hosts: on which tasks run; None: on this one.
    """

    name: str
    style: str
    pool: ParslPoolExecutor
    working: list[Path]
    hosts: Hosts | None = None

    def processes(self) -> set[psutil.Process]:
        """All that run on its hosts."""
        return {each for host in (self.hosts.hosts.values() if self.hosts else ()) for each in host.processes()}

    def half_files(self) -> list[str]:
        """What only a transfer, or a task, under way has there. Inputs stay for a while."""
        found = [path for folder in self.working for path in folder.rglob("*") if path.is_file()]
        output = ("new", "never", "x") if self.style == "in task" else ()
        return [str(path) for path in found if path.suffix == ".part" or path.name.startswith(output)]


@contextlib.contextmanager
def here(name: str, style: str, options: Transfer, working: Path) -> Iterator[Place]:
    """One on this machine."""
    storage: dict[str, Any] = {"storage_access": STYLES[style](options), "working_dir": working}
    executor: Any
    if name == "threads":
        executor = ThreadPoolExecutor("main", max_threads=2, **storage)
    else:
        executor = HighThroughputExecutor("main", max_workers_per_node=2, manager_inside=name == "inside", **storage)
    with ParslPoolExecutor(Config([executor], run_dir=None)) as pool:
        yield Place(name, style, pool, [working])


@contextlib.contextmanager
def there(
    hosts: Hosts, style: str, options: Transfer, runs: Path, environment: Mapping[str, str]
) -> Iterator[Place]:
    """One of hosts that share nothing with this machine, and nothing with each other."""
    channels = [SSHChannel(name, config_filename=hosts.config, connect_timeout=10) for name in hosts.hosts]
    exports = "".join(f"export {name}={shlex.quote(value)}; " for name, value in environment.items())
    init = f"{exports}export PATH='{Path(sys.executable).parent}':$PATH PYTHONPATH='{ROOT}'"
    executor = HighThroughputExecutor(
        "main", provider=AdHocProvider(channels, worker_init=init), max_workers_per_node=1, address=hosts.us,
        storage_access=STYLES[style](options), working_dir="/run/host/working",
    )  # fmt: skip
    try:
        with ParslPoolExecutor(Config([executor], run_dir=str(runs))) as pool:
            eventually(lambda: set(pool.map(where, range(20))) == set(hosts.hosts), within=60)
            working = [host.folder / "working" for host in hosts.hosts.values()]
            yield Place(FAR, style, pool, working, hosts)
    finally:
        for channel in channels:
            channel.close()


def options_here(servers: Servers) -> Transfer:
    config = None if servers.ssh is None else str(servers.ssh.config)
    return Transfer(ca_file=str(servers.authority), ssh_config=config, pause=0.01, retries=2)


def options_there(servers: Servers, hosts: Hosts) -> Transfer:
    """The same on hosts, which need files of their own for that."""
    for host in hosts.hosts.values():
        shutil.copy(servers.authority, host.folder / "authority.pem")
        if servers.ssh is not None:
            shutil.copy(servers.ssh.key, host.folder / "store_key")
            shutil.copy(servers.ssh.known_hosts, host.folder / "store_known")
            (host.folder / "store_config").write_text(
                f"Host here\n  HostName {servers.address}\n  Port {servers.ssh.port}\n  User {getpass.getuser()}\n"
                "  IdentityFile /run/host/store_key\n  IdentitiesOnly yes\n"
                "  UserKnownHostsFile /run/host/store_known\n  GlobalKnownHostsFile none\n"
            )
    config = None if servers.ssh is None else "/run/host/store_config"
    return dataclasses.replace(options_here(servers), ca_file="/run/host/authority.pem", ssh_config=config)
