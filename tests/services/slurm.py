"""A real Slurm: munged, slurmctld and four nodes, each a slurmd with a host name of its own, all on loopback.

With accounting there are MariaDB and slurmdbd too: then sacct works, and an account must exist. Without, as on many
small sites, sacct fails.
"""

import os
import signal
import sys
from collections.abc import Mapping
from pathlib import Path

from tests.services.inside import Inside, free_ports, serve
from tests.services.keeper import Service, missing

NODES = ("node1", "node2", "node3", "node4")
PACKAGES = "munge slurmctld slurmd slurm-client libpmix2"
ACCOUNTING_PACKAGES = "mariadb-server slurmdbd"
HEAD = "head"
ACCOUNT = "chemistry"

_CONFIGURATION = """\
ClusterName=tests
SlurmctldHost={head}(127.0.0.1)
SlurmctldPort={control_port}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
StateSaveLocation={folder}/control
SlurmdSpoolDir={folder}/spool/%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/{task_plugin}
SwitchType=switch/none
MpiDefault=none
ReturnToService=2
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SchedulerParameters=batch_sched_delay=0,sched_min_interval=0,bf_interval=1
SlurmdParameters=config_overrides
PropagateResourceLimits=NONE
GresTypes=gpu
KillWait=2
InactiveLimit=0
WaitTime=0
MinJobAge=600
SlurmdTimeout=6
SlurmctldTimeout=30
MessageTimeout=10
TreeWidth=50
{accounting}
{nodes}
PartitionName=main Nodes=ALL Default=YES DefaultTime=30 MaxTime=INFINITE State=UP
PartitionName=closed Nodes=ALL DefaultTime=30 State=DOWN
PartitionName=gone Nodes=ALL DefaultTime=30 State=INACTIVE
PartitionName=brief Nodes=ALL DefaultTime=1 MaxTime=1 State=UP
PartitionName=members Nodes=ALL DefaultTime=30 State=UP AllowAccounts={account}
"""
_NO_ACCOUNTING = """\
AccountingStorageType=accounting_storage/none
JobAcctGatherType=jobacct_gather/none"""
_ACCOUNTING = """\
AccountingStorageType=accounting_storage/slurmdbd
AccountingStorageHost=127.0.0.1
AccountingStoragePort={port}
AccountingStoragePass={folder}/munge.socket
AccountingStorageEnforce=associations
EnforcePartLimits=ALL
JobAcctGatherType=jobacct_gather/linux"""
_DATABASE = """\
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
DbdHost=localhost
DbdAddr=127.0.0.1
DbdPort={port}
SlurmUser=root
PidFile={folder}/slurmdbd.pid
LogFile={folder}/slurmdbd.log
StorageType=accounting_storage/mysql
StorageHost=localhost
StorageUser=root
StorageLoc=slurm_acct_db
"""


class Slurm(Inside):
    """munged, slurmctld, the nodes; with accounting also mariadbd and slurmdbd."""

    commands = ("crash", "boot", "end_slurmd", "end_control", "restart_control")

    def __init__(self, folder: Path, *options: str) -> None:
        """options: "accounting"; "binding": jobs are bound to the cores that they were given."""
        super().__init__(folder)
        self._accounting, self._binds = "accounting" in options, "binding" in options
        self._configuration = folder / "slurm.conf"
        self._hosts = folder / "hosts"
        self._environment = {"SLURM_CONF": str(self._configuration)}

    def start(self) -> Mapping[str, str]:
        self.output("hostname", HEAD)
        for name in ("control", "spool", "dev"):
            (self.folder / name).mkdir()
        ports = free_ports(len(NODES) + 2)
        self._configure(ports)
        os.environ.update(self._environment)
        self._start_munge()
        if self._accounting:
            self._start_accounting(ports[1])
        self.run("control", "slurmctld", "-D")
        self.wait_until(lambda: self.works("scontrol", "ping"), "slurmctld answers")
        for node in NODES:
            self._start_node(node)
        self.wait_until(lambda: self._ready() == set(NODES), "all nodes are idle")
        return self._environment

    # -- what tests ask for

    def crash(self, node: str) -> None:
        """All that runs on the node ends at once."""
        self.end(node)

    def end_slurmd(self, node: str) -> None:
        """The node's daemon is killed; its jobs go on, for the time being."""
        number = int((self.folder / f"{node}.pid").read_text())
        # The number is that of the node's name space; here it has another.
        for entry in os.listdir("/proc"):
            is_it = entry.isdigit() and _number_inside(entry) == number
            if is_it and _command(entry).startswith(f"slurmd -D -N {node}"):
                os.kill(int(entry), signal.SIGKILL)
                return
        raise ProcessLookupError(f"no slurmd on {node}")

    def boot(self, node: str) -> None:
        """The node is as new, whatever was with it."""
        if node in self.processes:
            self.end(node)
        self._start_node(node)
        self.wait_until(lambda: self._is_back(node), f"{node} is idle")

    def end_control(self) -> None:
        """slurmctld ends, and saves its state. (It saves that late: killed, it forgets what it did last.)"""
        self.end("control", signal.SIGTERM)

    def restart_control(self) -> None:
        """It is started again."""
        self.run("control", "slurmctld", "-D")
        self.wait_until(lambda: self.works("scontrol", "ping"), "slurmctld answers")

    # -- inner things

    def _configure(self, ports: list[int]) -> None:
        lines = []
        cores = len(os.sched_getaffinity(0)) if self._binds else 4  # none can be bound to what there is not
        for node, port in zip(NODES, ports[2:]):
            place = f"NodeName={node} NodeHostname={node} NodeAddr=127.0.0.1 Port={port}"
            lines.append(f"{place} CPUs={cores} RealMemory=2000 Gres=gpu:2")
        accounting = _ACCOUNTING.format(port=ports[1], folder=self.folder) if self._accounting else _NO_ACCOUNTING
        self._configuration.write_text(
            _CONFIGURATION.format(
                head=HEAD, folder=self.folder, control_port=ports[0], accounting=accounting, nodes="\n".join(lines),
                account=ACCOUNT, task_plugin="affinity" if self._binds else "none",
            )
        )  # fmt: skip
        for number in (0, 1):  # two of them on each node, as far as Slurm can see
            os.mknod(self.folder / "dev" / f"gpu{number}", 0o20666, os.makedev(1, 3))
        (self.folder / "gres.conf").write_text(f"Name=gpu File={self.folder}/dev/gpu[0-1]\n")
        self._hosts.write_text("127.0.0.1 localhost\n" + "".join(f"127.0.0.1 {name}\n" for name in (HEAD, *NODES)))
        self.output("mount", "--bind", str(self._hosts), "/etc/hosts")

    def _start_munge(self) -> None:
        key = self.folder / "munge.key"
        key.touch(0o600)
        key.write_bytes(os.urandom(128))
        socket = self.folder / "munge.socket"
        self.run(
            "munged", "munged", "--foreground", "--force", f"--key-file={key}", f"--socket={socket}",
            f"--pid-file={self.folder}/munged.pid", f"--seed-file={self.folder}/munged.seed",
            f"--log-file={self.folder}/munged.messages.log",
        )  # fmt: skip
        self.wait_until(lambda: self.works("munge", "-S", str(socket), "-n"), "munged answers")

    def _start_accounting(self, port: int) -> None:
        place = self.folder / "db"
        options = ("--no-defaults", f"--socket={place}/s", "-u", "root")
        self.output("mariadb-install-db", "--user=root", f"--datadir={place}", "--skip-test-db",
                    "--auth-root-authentication-method=socket")  # fmt: skip
        self.run(
            "mariadbd", "mariadbd", "--no-defaults", "--user=root", f"--datadir={place}", f"--socket={place}/s",
            "--skip-networking", f"--pid-file={place}/pid", "--innodb-buffer-pool-size=64M",
            "--innodb-lock-wait-timeout=900", "--innodb-flush-log-at-trx-commit=0",
        )  # fmt: skip
        self.wait_until(lambda: self.works("mariadb-admin", *options, "ping"), "MariaDB answers")
        self.output("mariadb", *options, "-e", "CREATE DATABASE slurm_acct_db")
        configuration = self.folder / "slurmdbd.conf"
        configuration.touch(0o600)
        configuration.write_text(_DATABASE.format(folder=self.folder, port=port))
        self.run("slurmdbd", "slurmdbd", "-D", MYSQL_UNIX_PORT=f"{place}/s")
        self.wait_until(lambda: self.works("sacctmgr", "-n", "show", "cluster"), "slurmdbd answers")
        for words in (
            "add cluster tests", f"add account {ACCOUNT} cluster=tests", f"add user root account={ACCOUNT}",
        ):  # fmt: skip
            self.output("sacctmgr", "-i", *words.split())

    def _start_node(self, node: str) -> None:
        self.run_node(node, self._hosts, "slurmd", "-D", "-N", node)

    def _is_back(self, node: str) -> bool:
        self.result("scontrol", "update", f"NodeName={node}", "State=RESUME")  # for one that is known to be down
        return node in self._ready()

    def _ready(self) -> set[str]:
        lines = self.result("sinfo", "-h", "-N", "-p", "main", "-o", "%N %t").stdout.splitlines()
        return {line.split()[0] for line in lines if line.split()[1:] == ["idle"]}


def _number_inside(entry: str) -> int:
    try:
        with open(f"/proc/{entry}/status") as status:
            numbers = next(line for line in status if line.startswith("NSpid:"))
    except (OSError, StopIteration):  # it has ended
        return -1
    return int(numbers.split()[-1])


def _command(entry: str) -> str:
    try:
        return Path(f"/proc/{entry}/cmdline").read_text().replace("\0", " ")
    except OSError:
        return ""


def missing_for(accounting: bool = False) -> str:
    """What this machine lacks; "" if a Slurm can be started."""
    lack = missing("munged munge slurmctld slurmd sbatch srun sacct scontrol".split(), PACKAGES)
    if accounting and not lack:
        lack = missing("mariadbd mariadb-install-db slurmdbd sacctmgr".split(), ACCOUNTING_PACKAGES)
    return lack


def missing_for_binding() -> str:
    """What this machine lacks for jobs that are bound to cores; "" if nothing."""
    return "" if len(os.sched_getaffinity(0)) > 1 else "a machine of one core has nothing to choose"


def start(accounting: bool = False, binding: bool = False) -> Service:
    """A new Slurm."""
    return Service(__name__, *["accounting"] * accounting, *["binding"] * binding)


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit("run it by python -m tests.services slurm")
    serve(Slurm)
