"""Providers and pools for the real Grid Engine, which end with the test."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from parsl_pool.providers import GridEngineProvider
from tests.services.clusters import GridEngineCluster
from tests.services.jobs import NewProvider, makes_providers
from tests.services.pools import NewPool, makes_pools


@pytest.fixture
def new_provider(grid_engine: GridEngineCluster, script_dir: Path) -> Iterator[NewProvider]:
    yield from makes_providers(GridEngineProvider, script_dir)


@pytest.fixture
def new_pool(grid_engine: GridEngineCluster, tmp_path: Path) -> Iterator[NewPool]:
    """By default of two blocks."""
    yield from makes_pools(GridEngineProvider, tmp_path / "runs", init_blocks=2, max_blocks=2)
