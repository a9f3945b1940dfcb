"""The pool that a framework gets, and the proof that its workers did the work."""

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.cpython.pools import POOLS
from tests.frameworks.work import Traced

WORKERS = 2
# The same programs on the standard library's pool: shows that it is not they who are wrong.
STDLIB = "FRAMEWORKS_ON_STDLIB" in os.environ

TraceMaker = Callable[[Callable[..., Any]], Traced]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.frameworks)


@pytest.fixture
def pool_class(manager_inside: bool) -> Any:
    """The executor's class, in that arrangement."""
    return POOLS["stdlib" if STDLIB else "inside" if manager_inside else "apart"]()


@pytest.fixture
def pool(pool_class: Any) -> Iterator[Any]:
    """Typed as Any: it may be the standard library's, and the frameworks don't care either."""
    with pool_class(WORKERS) as pool:
        assert isinstance(pool, ProcessPoolExecutor)
        yield pool


@pytest.fixture
def trace(tmp_path: Path) -> TraceMaker:
    """Wraps a function, so that it tells afterwards where it ran."""
    return lambda function: Traced(function, tmp_path / "pids")


@pytest.fixture
def ran_on_workers() -> Callable[[list[int]], bool]:
    """Whether these pids, one for each call, are workers of the pool, and not this process."""

    def check(pids: list[int]) -> bool:
        return bool(pids) and os.getpid() not in pids and len(set(pids)) <= WORKERS

    return check
