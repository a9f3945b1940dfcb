"""A real Grid Engine: sge_qmaster, and sge_execd on one node with a host name of its own, all on loopback.

Queues: all.q with eight slots, and closed.q, which is disabled; parallel environments: smp, and mpi.
"""

import os
import signal
import socket
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from tests.services.inside import Inside, free_ports, serve
from tests.services.keeper import Service, missing

PACKAGES = "gridengine-master gridengine-exec gridengine-client"
NODE = "gridnode"

_CELL = "tests"
_SHARE = Path("/usr/share/gridengine")
_TOOLS = "/usr/lib/gridengine"
_ENVIRONMENTS = {"smp": "$pe_slots", "mpi": "$round_robin"}
_ENVIRONMENT = """\
pe_name {name}
slots 99
user_lists NONE
xuser_lists NONE
start_proc_args NONE
stop_proc_args NONE
allocation_rule {rule}
control_slaves TRUE
job_is_first_task FALSE
urgency_slots min
accounting_summary FALSE
qsort_args NONE
"""


class GridEngine(Inside):
    """sge_qmaster, and a node with sge_execd."""

    commands = ("crash", "boot", "end_execd", "start_execd")

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self._root = folder / "root"
        self._common = self._root / _CELL / "common"
        self._hosts = folder / "hosts"
        ports = free_ports(2)
        self._environment = {
            "SGE_ROOT": str(self._root), "SGE_CELL": _CELL, "SGE_ARCH": "lx-amd64",
            "SGE_QMASTER_PORT": str(ports[0]), "SGE_EXECD_PORT": str(ports[1]),
        }  # fmt: skip

    def start(self) -> Mapping[str, str]:
        os.environ.update(self._environment, SGE_ND="true")  # the last keeps its daemons in the foreground
        self._make_cell()
        self.run("qmaster", f"{_TOOLS}/sge_qmaster")
        self.wait_until(lambda: self.works("qconf", "-sh"), "sge_qmaster answers")
        self._configure()
        self.boot()
        return self._environment

    # -- what tests ask for

    def crash(self) -> None:
        """All that runs on the node ends at once."""
        self.end(NODE)

    def boot(self) -> None:
        """The node is as new, whatever was with it."""
        if NODE in self.processes:
            self.end(NODE)
        self.run_node(NODE, self._hosts, f"{_TOOLS}/sge_execd")
        self.wait_until(self._is_ready, "the queue is up")

    def end_execd(self) -> None:
        """The node's daemon is killed; its jobs go on."""
        for entry in filter(str.isdigit, os.listdir("/proc")):
            with suppress(OSError):  # it has ended
                if Path(f"/proc/{entry}/comm").read_text().strip() == "sge_execd":
                    os.kill(int(entry), signal.SIGKILL)

    def start_execd(self) -> None:
        """It is started again, beside what runs there."""
        self.run_there(NODE, f"{_TOOLS}/sge_execd")
        self.wait_until(self._is_ready, "the queue is up")

    # -- inner things

    def _make_cell(self) -> None:
        spool = self.folder / "spool"
        for place in (self._common, spool / "qmaster" / "job_scripts", spool / "db", spool / "execd"):
            place.mkdir(parents=True)
        for name in ("bin", "lib", "util", "utilbin"):
            (self._root / name).symlink_to(f"/var/lib/gridengine/{name}")
        # To Grid Engine all names of 127.0.0.1 are one host, else it takes them for impostors.
        outer = [line.split()[1:] for line in Path("/etc/hosts").read_text().splitlines() if line.startswith("127.")]
        names = {socket.gethostname(), "head", NODE, *(name for names in outer for name in names)} - {"localhost"}
        (self._common / "host_aliases").write_text(f"localhost {' '.join(sorted(names))}\n")
        (self._common / "act_qmaster").write_text("localhost\n")
        self._hosts.write_text("127.0.0.1 localhost\n" + "".join(f"127.0.0.1 {name}\n" for name in sorted(names)))
        self.output("mount", "--bind", str(self._hosts), "/etc/hosts")
        self.output("hostname", "head")
        bootstrap = (_SHARE / "default-bootstrap").read_text()
        changes = {"spooling_params": spool / "db", "qmaster_spool_dir": spool / "qmaster", "admin_user": "none"}
        (self._common / "bootstrap").write_text(_changed(bootstrap, changes))
        self.output(str(_SHARE / "scripts" / "init_cluster"), str(self._root), _CELL, str(spool / "db"), "root")
        configuration = self.folder / "configuration"
        values = {
            "execd_spool_dir": spool / "execd", "min_uid": 0, "min_gid": 0, "mailer": "/bin/true",
            "shell_start_mode": "unix_behavior", "login_shells": "none",  # root's profile is not a test's business
            "load_report_time": "00:00:02", "max_unheard": "00:00:20",
            "reporting_params": "accounting=true reporting=false flush_time=00:00:01 joblog=false sharelog=00:00:00",
        }  # fmt: skip
        configuration.write_text(_changed((_SHARE / "default-configuration").read_text(), values))
        self.output(f"{_TOOLS}/spooldefaults", "configuration", str(configuration))

    def _configure(self) -> None:
        for option in ("-ah", "-as"):  # it may administer, and submit
            self.result("qconf", option, "localhost")
        self._apply(
            "-Msconf",
            _changed(
                self.output("qconf", "-ssconf"),
                {"schedule_interval": "0:0:1", "flush_submit_sec": 1, "flush_finish_sec": 1},
            ),
        )
        for name, rule in _ENVIRONMENTS.items():
            self._apply("-Ap", _ENVIRONMENT.format(name=name, rule=rule))
        self._apply("-Ahgrp", "group_name @allhosts\nhostlist localhost\n")
        template = self.output("qconf", "-sq")
        for name in ("all.q", "closed.q"):
            changes = {
                "qname": name, "hostlist": "@allhosts", "slots": 8, "shell": "/bin/bash", "load_thresholds": "NONE",
                "pe_list": " ".join(_ENVIRONMENTS), "shell_start_mode": "unix_behavior",
            }  # fmt: skip
            self._apply("-Aq", _changed(template, changes))
        self.output("qmod", "-d", "closed.q")

    def _apply(self, option: str, text: str) -> None:
        file = self.folder / "change"
        file.write_text(text)
        self.output("qconf", option, str(file))

    def _is_ready(self) -> bool:
        for line in self.result("qstat", "-f").stdout.splitlines():
            words = line.split()
            if words[:1] and words[0].startswith("all.q@"):
                return words[3] != "-NA-" and not (len(words) > 5 and set(words[5]) & set("auE"))
        return False


def _changed(text: str, values: Mapping[str, object]) -> str:
    """The same lines of names and values, with these values."""
    lines = text.splitlines()
    for number, line in enumerate(lines):
        name = line.split()[:1]
        if name and name[0] in values:
            lines[number] = f"{name[0]} {values[name[0]]}"
    return "\n".join(lines) + "\n"


def missing_for() -> str:
    """What this machine lacks; "" if a Grid Engine can be started."""
    return missing("sge_qmaster sge_execd qsub qstat qdel qacct qconf".split(), PACKAGES)


def start() -> Service:
    """A new Grid Engine."""
    return Service(__name__)


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit("run it by python -m tests.services grid_engine")
    serve(GridEngine)
