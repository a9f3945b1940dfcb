"""Providers for the real Slurm, whose jobs end with the test."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from parsl_pool.providers import JobStatus, SimpleLauncher, SlurmProvider
from tests.eventually import eventually
from tests.services.clusters import SlurmCluster

NewProvider = Callable[..., SlurmProvider]


@pytest.fixture
def script_dir(tmp_path: Path) -> Path:
    return tmp_path / 'it\'s a "dir" $HOME é `x` 100% \\'


@pytest.fixture
def new_provider(slurm: SlurmCluster, script_dir: Path) -> Iterator[NewProvider]:
    """Makes providers, of jobs that share their nodes; what a test has left of these is cancelled."""
    yield from makes_providers(script_dir)


def makes_providers(script_dir: Path) -> Iterator[NewProvider]:
    made: list[SlurmProvider] = []

    def new(**options: Any) -> SlurmProvider:
        provider = SlurmProvider(**{"exclusive": False, "cmd_timeout": 30, "launcher": SimpleLauncher(), **options})
        provider.script_dir = script_dir
        made.append(provider)
        return provider

    yield new
    for provider in made:
        provider.cancel(list(provider._jobs))


def status_of(provider: SlurmProvider, job: str) -> JobStatus:
    (status,) = provider.status([job])
    return status


def ends(provider: SlurmProvider, job: str, within: float = 30) -> JobStatus:
    """The job's last status, which comes soon."""
    assert eventually(lambda: status_of(provider, job).terminal, within)
    return status_of(provider, job)
