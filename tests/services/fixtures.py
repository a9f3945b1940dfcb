"""Fixtures of real services: `slurm`, `slurm_with_accounting`, `grid_engine`.

Each runs as long as the session of tests. A test gets one that is idle, with its commands' environment set, and has to
leave no job behind.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from tests.services import grid_engine as grid_engine_service
from tests.services import slurm as slurm_service
from tests.services.clusters import Cluster, GridEngineCluster, SlurmCluster

LEAVE_S = 30.0  # what a scheduler may take to end the jobs that a test has cancelled


@contextmanager
def _running(name: str, lack: str, start: Callable[[], Any]) -> Iterator[Any]:
    if lack:
        pytest.skip(f"no {name} here: {lack}")
    service = start()
    try:
        yield service
    finally:
        service.stop()


@pytest.fixture(scope="session")
def slurm_of_session() -> Iterator[Any]:
    with _running("Slurm", slurm_service.missing_for(), slurm_service.start) as service:
        yield service


@pytest.fixture(scope="session")
def slurm_with_accounting_of_session() -> Iterator[Any]:
    lack = slurm_service.missing_for(accounting=True)
    with _running("Slurm with accounting", lack, lambda: slurm_service.start(accounting=True)) as service:
        yield service


@pytest.fixture(scope="session")
def grid_engine_of_session() -> Iterator[Any]:
    with _running("Grid Engine", grid_engine_service.missing_for(), grid_engine_service.start) as service:
        yield service


@contextmanager
def _lent(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    for name, value in cluster.service.environment.items():
        monkeypatch.setenv(name, value)
    yield cluster
    cluster.mend()
    left = cluster.left(LEAVE_S)
    cluster.clear()
    if left:
        pytest.fail(f"jobs were left in the queue: {left}", pytrace=False)


@pytest.fixture
def slurm(
    nothing_left_by_the_test: None, slurm_of_session: Any, monkeypatch: pytest.MonkeyPatch
) -> Iterator[SlurmCluster]:
    """A Slurm of four nodes, without accounting."""
    with _lent(SlurmCluster(slurm_of_session), monkeypatch) as cluster:
        yield cluster


@pytest.fixture
def slurm_with_accounting(
    nothing_left_by_the_test: None, slurm_with_accounting_of_session: Any, monkeypatch: pytest.MonkeyPatch
) -> Iterator[SlurmCluster]:
    """A Slurm of four nodes, with accounting."""
    with _lent(SlurmCluster(slurm_with_accounting_of_session), monkeypatch) as cluster:
        yield cluster


@pytest.fixture
def grid_engine(
    nothing_left_by_the_test: None, grid_engine_of_session: Any, monkeypatch: pytest.MonkeyPatch
) -> Iterator[GridEngineCluster]:
    """A Grid Engine of one node."""
    with _lent(GridEngineCluster(grid_engine_of_session), monkeypatch) as cluster:
        yield cluster
