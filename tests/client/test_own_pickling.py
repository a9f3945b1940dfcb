"""How a type is pickled can be said once, by `copyreg`, as for every pickle; then its objects go wherever others go."""

from collections.abc import Iterator

import pytest

from parsl_pool import ParslPoolExecutor
from parsl_pool.errors import SerializationError
from tests.client import own_pickling
from tests.client.own_pickling import Grid, doubled, register

LARGE = 3 << 20


@pytest.fixture
def registered() -> Iterator[None]:
    register()
    yield
    own_pickling.unregister()


@pytest.mark.parametrize("size", [10, LARGE])
def test_arguments_and_results(manager_inside: bool, registered: None, size: int) -> None:
    with ParslPoolExecutor(1, initializer=register, manager_inside=manager_inside) as pool:
        assert pool.submit(doubled, Grid(bytes(size))).result().cells == bytes(2 * size)
        assert [grid.cells for grid in pool.map(doubled, [Grid(b"a"), Grid(b"b")])] == [b"aa", b"bb"]
        # by cloudpickle, for the function beside it; and deep within others
        nest = {"grids": [(Grid(b"c"), lambda: None)]}
        assert pool.submit(lambda nest: doubled(nest["grids"][0][0]), nest).result().cells == b"cc"
        # a result as an argument of the next
        assert pool.submit(doubled, pool.submit(doubled, Grid(b"d"))).result().cells == b"dddd"


def test_a_worker_that_was_not_told(manager_inside: bool, registered: None) -> None:
    with ParslPoolExecutor(1, manager_inside=manager_inside) as pool:
        with pytest.raises(SerializationError, match="lock"):
            pool.submit(doubled, Grid(b"a")).result()


def test_without_it_the_error_names_the_part() -> None:
    with ParslPoolExecutor(1) as pool, pytest.raises(SerializationError, match=r"\.lock"):
        pool.submit(doubled, Grid(b"a")).result()
