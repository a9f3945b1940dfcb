"""A cluster with a played Slurm, and the command that checks a Config for it."""

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from parsl_pool.cli.main import main
from tests.providers.schedulers import played
from tests.services.clusters import GridEngineCluster, SlurmCluster


class Cluster:
    """A place with a scheduler, and a program's directory."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        self.folder, self.jobs = folder, folder / "queue"
        self._patch, self._captured = monkeypatch, capsys
        monkeypatch.chdir(folder)
        monkeypatch.setattr(sys, "path", list(sys.path))
        monkeypatch.setattr(sys, "executable", sys.executable)  # a Config's file may change it

    def set(self, name: str, text: str = "yes") -> None:
        """See fake_commands.py."""
        (self.jobs / name).write_text(text)

    def config(self, options: str = "", executor: str = "", kind: str = "SlurmProvider", head: str = "") -> str:
        """A file with a Config of so many options."""
        path = self.folder / "site.py"
        path.write_text(
            "from parsl_pool import Config, HighThroughputExecutor\nfrom parsl_pool.providers import *\n"
            f"{head}\n\ndef config():\n"
            f"    provider = {kind}({options})\n"
            f"    htex = HighThroughputExecutor('site', max_workers_per_node=1, provider=provider, {executor})\n"
            "    return Config([htex])\n"
        )
        return str(path)

    def check(self, *arguments: str, **environment: str) -> "Checked":
        """What the command says of it."""
        for name, value in environment.items():
            self._patch.setenv(name, value)
        self._captured.readouterr()
        status = main(["check", "--json", *arguments])
        return Checked(status, *self._captured.readouterr())


class Checked:
    """The report, read again."""

    def __init__(self, status: int, out: str, err: str) -> None:
        self.status, self.stderr = status, err
        self.report: dict[str, Any] = json.loads(out) if out else {}

    @property
    def executor(self) -> dict[str, Any]:
        """The only one."""
        (found,) = self.report["executors"]
        return dict(found)

    def texts(self, level: str) -> dict[str, str]:
        """Texts of the findings of that level by their codes."""
        found = [*self.executor["findings"], *(self.executor["trial"] or [])]
        return {one["code"]: one["text"] for one in found if one["level"] == level}

    @property
    def problems(self) -> dict[str, str]:
        return self.texts("problem")

    def __repr__(self) -> str:
        return f"status {self.status}\n{json.dumps(self.report, indent=1)}\n{self.stderr}"


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Cluster:
    site = Cluster(tmp_path, monkeypatch, capsys)
    site.jobs.mkdir()
    played.install(tmp_path / "bin", "slurm", site.jobs, monkeypatch)
    return site


@pytest.fixture
def real_cluster(
    slurm: SlurmCluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Cluster:
    """The same with a real Slurm."""
    return Cluster(tmp_path, monkeypatch, capsys)


@pytest.fixture
def cluster_with_accounts(
    slurm_with_accounting: SlurmCluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Cluster:  # fmt: skip
    """The same with accounts."""
    return Cluster(tmp_path, monkeypatch, capsys)


@pytest.fixture
def grid_engine_cluster(
    grid_engine: GridEngineCluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Cluster:
    """The same with a real Grid Engine."""
    return Cluster(tmp_path, monkeypatch, capsys)


@pytest.fixture
def without() -> Callable[[str], str]:
    """A PATH on which a command is not to be found."""

    def path(name: str) -> str:
        places = os.environ["PATH"].split(os.pathsep)
        return os.pathsep.join(place for place in places if not os.access(os.path.join(place, name), os.X_OK))

    return path
