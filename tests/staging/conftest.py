"""Pools whose tasks need files brought, over each kind of executor, and by each of the two ways to bring them."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import parsl_pool
from parsl_pool import Config, HighThroughputExecutor, ParslPoolExecutor, ThreadPoolExecutor
from parsl_pool.staging import NoOpFileStaging, Staging
from tests import leaks
from tests.staging.shelf import SeparateShelf, ShelfInTask

KINDS: dict[str, Callable[..., Any]] = {
    "inside": lambda **storage: HighThroughputExecutor("main", max_workers_per_node=2, manager_inside=True, **storage),
    "apart": lambda **storage: HighThroughputExecutor("main", max_workers_per_node=2, manager_inside=False, **storage),
    "threads": lambda **storage: ThreadPoolExecutor("main", max_threads=4, **storage),
}
WAYS: dict[str, Callable[[], Staging]] = {"separate": SeparateShelf, "in task": ShelfInTask}


@pytest.fixture(scope="module", params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    """Where tasks run."""
    return str(request.param)


@pytest.fixture(scope="module", params=WAYS)
def way(request: pytest.FixtureRequest) -> str:
    """How files are brought."""
    return str(request.param)


@pytest.fixture(scope="module")
def working(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where they are brought to."""
    return tmp_path_factory.mktemp("staging") / "working"


@pytest.fixture(scope="module")
def pool(kind: str, way: str, working: Path) -> Iterator[ParslPoolExecutor]:
    """A loaded pool that can bring files from a shelf. It lives as long as the module: none of the tests harms it."""
    executor = KINDS[kind](storage_access=[NoOpFileStaging(), WAYS[way]()], working_dir=working)
    with leaks.keeping("the module's pool"), parsl_pool.load(Config([executor], run_dir=None)) as pool:
        yield pool
    parsl_pool.clear()


@pytest.fixture
def shelf(tmp_path: Path) -> Path:
    """A folder that the tasks do not know."""
    folder = tmp_path / "shelf"
    folder.mkdir()
    return folder
