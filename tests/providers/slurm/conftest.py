"""Providers and pools for the real Slurm, which end with the test."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from parsl_pool.providers import SlurmProvider, SrunLauncher
from tests.services.clusters import SlurmCluster
from tests.services.jobs import NewProvider, makes_providers
from tests.services.pools import NewPool, makes_pools


@pytest.fixture
def cluster(slurm: SlurmCluster) -> SlurmCluster:
    """Without accounting; modules that want one with it have a fixture of this name."""
    return slurm


@pytest.fixture
def new_provider(cluster: SlurmCluster, script_dir: Path) -> Iterator[NewProvider]:
    """Of jobs that share their nodes."""
    yield from makes_providers(SlurmProvider, script_dir, exclusive=False)


@pytest.fixture
def new_pool(cluster: SlurmCluster, tmp_path: Path) -> Iterator[NewPool]:
    """By default of two blocks of two nodes."""
    blocks = {"nodes_per_block": 2, "init_blocks": 2, "max_blocks": 2}
    yield from makes_pools(SlurmProvider, tmp_path / "runs", launcher=SrunLauncher(), **blocks)
