"""What tests ask of a real scheduler, by its own commands and behind the pool's back."""

import os
import subprocess
import time
from abc import ABC, abstractmethod
from contextlib import suppress

from tests.services.keeper import Service
from tests.services.slurm import NODES

_PAUSE_S = 0.1


class Cluster(ABC):
    """A scheduler that runs."""

    def __init__(self, service: Service) -> None:
        self.service = service

    def run(self, *command: str) -> str:
        """What one of its commands printed; it must not fail."""
        done = subprocess.run(
            command, env={**os.environ, **self.service.environment}, capture_output=True, text=True, timeout=60
        )
        assert done.returncode == 0, f"{command}: exit code {done.returncode}: {done.stdout}{done.stderr}"
        return done.stdout

    @abstractmethod
    def jobs(self) -> dict[str, str]:
        """Jobs that have not ended, and their states."""

    @abstractmethod
    def mend(self) -> None:
        """Start again what a test has lost on purpose: a scheduler may wait for it before it ends jobs."""

    @abstractmethod
    def clear(self) -> None:
        """No job, and all nodes as new."""

    def left(self, within: float) -> dict[str, str]:
        """The jobs that are still there after so many seconds; none, as soon as there are none."""
        deadline = time.monotonic() + within
        while (jobs := self.jobs()) and time.monotonic() < deadline:
            time.sleep(_PAUSE_S)
        return jobs


class SlurmCluster(Cluster):
    """A Slurm that runs."""

    def __init__(self, service: Service) -> None:
        super().__init__(service)
        self._lost: set[str] = set()

    def jobs(self) -> dict[str, str]:
        lines = self.run("squeue", "-h", "-o", "%i %T").splitlines()
        return {line.split()[0]: line.split()[1] for line in lines}

    def states(self) -> dict[str, str]:
        """Jobs that Slurm knows, those that have ended too, and their states."""
        lines = self.run("squeue", "-h", "--states=all", "-o", "%i %T").splitlines()
        return {line.split()[0]: line.split()[1] for line in lines}

    def nodes_of(self, job: str) -> list[str]:
        """The nodes that a job runs on."""
        names = self.run("squeue", "-h", "-j", job, "-o", "%N").strip()
        return self.run("scontrol", "show", "hostnames", names).split()

    def crash(self, node: str) -> None:
        """All that runs on the node ends at once."""
        self._lost.add(node)
        self.service.ask("crash", node)

    def end_slurmd(self, node: str) -> None:
        """The node's daemon is killed; its jobs go on, for the time being."""
        self._lost.add(node)
        self.service.ask("end_slurmd", node)

    def mend(self) -> None:
        while self._lost:
            self.service.ask("boot", self._lost.pop())

    def end_soon(self, job: str) -> None:
        """The job's time is over in a moment. (Slurm looks at that twice a minute.)"""
        self.run("scontrol", "update", f"JobId={job}", "EndTime=now+2")  # not before it has begun

    def idle_nodes(self) -> set[str]:
        lines = self.run("sinfo", "-h", "-N", "-p", "main", "-o", "%N %t").splitlines()
        return {line.split()[0] for line in lines if line.split()[1] == "idle"}

    def clear(self) -> None:
        for job in self.jobs():
            self.run("scancel", job)
        self.left(10)
        deadline = time.monotonic() + 5
        while len(self.idle_nodes()) < len(NODES) and time.monotonic() < deadline:
            time.sleep(_PAUSE_S)
        for node in sorted(set(NODES) - self.idle_nodes()):
            self.service.ask("boot", node)


class GridEngineCluster(Cluster):
    """A Grid Engine that runs."""

    def __init__(self, service: Service) -> None:
        super().__init__(service)
        self._is_lost = False

    def crash(self) -> None:
        """All that runs on the node ends at once."""
        self._is_lost = True
        self.service.ask("crash")

    def end_execd(self) -> None:
        """The node's daemon is killed; its jobs go on."""
        self._is_lost = True
        self.service.ask("end_execd")

    def start_execd(self) -> None:
        """It is started again, as it is on a machine that looks after its daemons."""
        self.service.ask("start_execd")
        self._is_lost = False

    def mend(self) -> None:
        if self._is_lost:
            self.service.ask("boot")
            # It waits for the node to tell of these, which knows nothing any more: an administrator helps.
            for job in (job for job, state in self.jobs().items() if "d" in state):
                with suppress(AssertionError):  # it has ended meanwhile
                    self.run("qdel", "-f", job)
        self._is_lost = False

    def jobs(self) -> dict[str, str]:
        lines = self.run("qstat", "-u", "*").splitlines()[2:]
        return {line.split()[0]: line.split()[4] for line in lines}

    def clear(self) -> None:
        if self.jobs():
            self.run("qdel", "-f", *self.jobs())
            self.service.ask("boot")
            self.left(10)
