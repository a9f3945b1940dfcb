"""Providers for the real Grid Engine, whose jobs end with the test."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from parsl_pool.providers import GridEngineProvider, JobStatus, SimpleLauncher
from tests.eventually import eventually
from tests.services.clusters import GridEngineCluster

NewProvider = Callable[..., GridEngineProvider]


@pytest.fixture
def script_dir(tmp_path: Path) -> Path:
    return tmp_path / 'it\'s a "dir" $HOME é `x` 100% \\'


@pytest.fixture
def new_provider(grid_engine: GridEngineCluster, script_dir: Path) -> Iterator[NewProvider]:
    """Makes providers; what a test has left of their jobs is cancelled."""
    made: list[GridEngineProvider] = []

    def new(**options: Any) -> GridEngineProvider:
        provider = GridEngineProvider(**{"launcher": SimpleLauncher(), "cmd_timeout": 30, **options})
        provider.script_dir = script_dir
        made.append(provider)
        return provider

    yield new
    for provider in made:
        provider.cancel(list(provider._jobs))


def status_of(provider: GridEngineProvider, job: str) -> JobStatus:
    (status,) = provider.status([job])
    return status


def ends(provider: GridEngineProvider, job: str, within: float = 40) -> JobStatus:
    """The job's last status, which comes soon."""
    assert eventually(lambda: status_of(provider, job).terminal, within)
    return status_of(provider, job)
