"""Providers whose scheduler is played by commands on PATH."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from parsl_pool.providers import JobState, SimpleLauncher
from parsl_pool.providers.cluster import ClusterProvider
from parsl_pool.providers.cobalt import CobaltProvider
from parsl_pool.providers.condor import CondorProvider
from parsl_pool.providers.grid_engine import GridEngineProvider
from parsl_pool.providers.lsf import LSFProvider
from parsl_pool.providers.pbspro import PBSProProvider
from parsl_pool.providers.slurm import SlurmProvider
from parsl_pool.providers.torque import TorqueProvider
from tests.eventually import eventually
from tests.providers.schedulers import played

KINDS: dict[str, type[ClusterProvider]] = {
    "slurm": SlurmProvider,
    "pbs": PBSProProvider,
    "torque": TorqueProvider,
    "grid_engine": GridEngineProvider,
    "lsf": LSFProvider,
    "condor": CondorProvider,
    "cobalt": CobaltProvider,
}


class Site:
    """A place with a scheduler, and a provider that uses it."""

    def __init__(self, kind: str, folder: Path) -> None:
        self.kind, self.jobs, self.scripts = kind, folder / "queue", folder / "it's a dir"
        self.jobs.mkdir()
        self.provider = self.new()

    def new(self, **options: Any) -> Any:
        """Another provider for the same scheduler."""
        provider = KINDS[self.kind](**{"launcher": SimpleLauncher(), "cmd_timeout": 20, **options})
        provider.script_dir = self.scripts
        return provider

    def set(self, name: str, text: str = "yes") -> None:
        (self.jobs / name).write_text(text)

    def unset(self, name: str) -> None:
        (self.jobs / name).unlink()

    @property
    def calls(self) -> list[str]:
        """The commands that were run so far."""
        return (self.jobs / "calls").read_text().splitlines()

    def state(self, job: str, provider: Any = None) -> JobState:
        (status,) = (provider or self.provider).status([job])
        return JobState(status.state)

    def ends(self, job: str) -> Any:
        """The job's last status."""
        assert eventually(lambda: self.provider.status([job])[0].terminal)
        return self.provider.status([job])[0]


@pytest.fixture(params=KINDS)
def site(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    site = Site(request.param, tmp_path)
    played.install(tmp_path / "bin", request.param, site.jobs, monkeypatch)
    yield site
    provider = site.provider
    provider.cancel(list(provider._jobs))

