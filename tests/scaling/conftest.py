"""The thread that keeps blocks, which does not run here: tests look."""

from pathlib import Path
from typing import Any

import pytest

from parsl_pool.scaling import jobs
from parsl_pool.scaling import poller as pollers
from parsl_pool.scaling.poller import JobStatusPoller
from parsl_pool.scaling.site import Rules
from tests.scaling.kept import CLOCK, Make, Place, Queue


@pytest.fixture
def place() -> Place:
    return Place()


@pytest.fixture
def poller_of(place: Place, tmp_path: Path, still: None) -> Make:
    """Makes one that has looked once, and so has its first blocks."""

    def make(provider: Queue, **rules: Any) -> JobStatusPoller:
        poller = JobStatusPoller("pool", provider, place, Rules(**rules), str(tmp_path))
        poller.look()
        return poller

    return make


@pytest.fixture
def still(monkeypatch: pytest.MonkeyPatch) -> None:
    """Time passes only when a test says so."""
    for module in (pollers, jobs):
        monkeypatch.setattr(module, "monotonic", CLOCK)
