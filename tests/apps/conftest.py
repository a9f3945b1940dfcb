"""A pool for apps, over each kind of executor."""

from collections.abc import Callable, Iterator

import pytest

import parsl_pool
from parsl_pool import Config, HighThroughputExecutor, ParslPoolExecutor, ThreadPoolExecutor

KINDS: dict[str, Callable[[], Config]] = {
    "inside": lambda: Config([HighThroughputExecutor(max_workers_per_node=2, manager_inside=True)]),
    "apart": lambda: Config([HighThroughputExecutor(max_workers_per_node=2, manager_inside=False)]),
    "threads": lambda: Config([ThreadPoolExecutor(max_threads=4)]),
}


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    """Where tasks run."""
    return str(request.param)


@pytest.fixture
def pool(kind: str) -> Iterator[ParslPoolExecutor]:
    """The loaded pool."""
    with parsl_pool.load(KINDS[kind]()) as pool:
        yield pool
    parsl_pool.clear()
