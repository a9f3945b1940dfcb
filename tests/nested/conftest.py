"""The fixtures of these tests."""

from collections.abc import Iterator

import pytest

from parsl_pool import ParslPoolExecutor
from tests import leaks


@pytest.fixture(scope="module")
def pool(manager_inside: bool) -> Iterator[ParslPoolExecutor]:
    """Two workers."""
    with leaks.keeping("the pool"), ParslPoolExecutor(2, manager_inside=manager_inside) as pool:
        yield pool
