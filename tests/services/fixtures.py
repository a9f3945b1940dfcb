"""Fixtures of real services: `slurm` (four nodes) and others of its kind, `grid_engine` (one node); and `load`.

Each runs as long as the session of tests. A test gets one that is idle, with its commands' environment set, and has to
leave no job behind.
"""

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.services import grid_engine as grid_engine_service
from tests.services import slurm as slurm_service
from tests.services.clusters import GridEngineCluster, SlurmCluster
from tests.services.pools import Load

LEAVE_S = 30.0  # what a scheduler may take to end the jobs that a test has cancelled


def _running(name: str, lack: str, start: Callable[[], Any]) -> Iterator[Any]:
    if lack:
        pytest.skip(f"no {name} here: {lack}")
    service = start()
    try:
        yield service
    finally:
        service.stop()


def _lent(cluster: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    for name, value in cluster.service.environment.items():
        monkeypatch.setenv(name, value)
    yield cluster
    cluster.mend()
    left = cluster.left(LEAVE_S)
    cluster.clear()
    if left:
        pytest.fail(f"jobs were left in the queue: {left}", pytrace=False)


@pytest.fixture(scope="session")
def slurm_of_session() -> Iterator[Any]:
    yield from _running("Slurm", slurm_service.missing_for(), slurm_service.start)


@pytest.fixture(scope="session")
def slurm_with_accounting_of_session() -> Iterator[Any]:
    start = partial(slurm_service.start, accounting=True)
    yield from _running("Slurm with accounting", slurm_service.missing_for(accounting=True), start)


@pytest.fixture(scope="session")
def slurm_that_binds_of_session() -> Iterator[Any]:
    lack = slurm_service.missing_for() or slurm_service.missing_for_binding()
    yield from _running("Slurm that binds", lack, partial(slurm_service.start, binding=True))


@pytest.fixture(scope="session")
def grid_engine_of_session() -> Iterator[Any]:
    yield from _running("Grid Engine", grid_engine_service.missing_for(), grid_engine_service.start)


# What a test gets. They name the session's by its name, so that it begins before somebody counts what there was.


@pytest.fixture
def slurm(slurm_of_session: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[SlurmCluster]:
    yield from _lent(SlurmCluster(slurm_of_session), monkeypatch)


@pytest.fixture
def slurm_with_accounting(
    slurm_with_accounting_of_session: Any, monkeypatch: pytest.MonkeyPatch
) -> Iterator[SlurmCluster]:
    yield from _lent(SlurmCluster(slurm_with_accounting_of_session), monkeypatch)


@pytest.fixture
def slurm_that_binds(slurm_that_binds_of_session: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[SlurmCluster]:
    yield from _lent(SlurmCluster(slurm_that_binds_of_session), monkeypatch)


@pytest.fixture
def grid_engine(grid_engine_of_session: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[GridEngineCluster]:
    yield from _lent(GridEngineCluster(grid_engine_of_session), monkeypatch)


@pytest.fixture
def load(tmp_path: Path) -> Callable[[Any], Load]:
    """Gives a pool its tasks."""
    return lambda pool: Load(pool, tmp_path / "begun")
