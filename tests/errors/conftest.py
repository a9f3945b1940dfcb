"""Pools that live as long as a module: the tests here are many and short, and none of them may harm a pool."""

from collections.abc import Callable, Iterator

import pytest

import parsl_pool
from parsl_pool import Config, HighThroughputExecutor, ParslPoolExecutor, ThreadPoolExecutor
from tests import leaks

KINDS: dict[str, Callable[[], Config]] = {
    "threads": lambda: Config([ThreadPoolExecutor(max_threads=4)]),
    "processes": lambda: Config([HighThroughputExecutor("processes", max_workers_per_node=2)]),
}


@pytest.fixture(scope="module", params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    """Where tasks run."""
    return str(request.param)


@pytest.fixture(scope="module")
def pool(kind: str) -> Iterator[ParslPoolExecutor]:
    """The loaded pool."""
    with leaks.keeping("the module's pool"), parsl_pool.load(KINDS[kind]()) as pool:
        yield pool
    parsl_pool.clear()
