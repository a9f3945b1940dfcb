"""Every fault fails its own task, says so, and costs nobody else anything."""

from collections.abc import Iterator
from concurrent.futures import wait
from operator import mul

import pytest

from parsl_pool import ParslPoolExecutor
from tests import leaks
from tests.eventually import eventually
from tests.faults import FAULTS, Fault
from tests.recovery.arrangement import Arrangement


@pytest.fixture(scope="module")
def pool(arrangement: Arrangement) -> Iterator[ParslPoolExecutor]:
    """One for all faults: each has to leave it as good as new."""
    with leaks.keeping("the pool of the fault table"), arrangement.pool(2) as pool:
        interchange = arrangement.parts(pool).interchange
        yield pool
        assert arrangement.parts(pool).interchange == interchange, "a fault of a task's ended the interchange"


@pytest.mark.parametrize("fault", FAULTS, ids=str)
def test_a_fault_fails_its_own_task_and_the_pool_goes_on(pool: ParslPoolExecutor, fault: Fault) -> None:
    before = [pool.submit(mul, i, 3) for i in range(10)]
    future = fault.submit(pool)
    behind = [pool.submit(mul, i, 5) for i in range(40)]
    error = future.exception(15)
    assert isinstance(error, fault.errors), f"{type(error).__name__}: {error!r}"
    assert fault.says in text_of(error)
    assert not wait(before + behind, 15).not_done
    assert [future.result() for future in before] == [i * 3 for i in range(10)]
    assert [future.result() for future in behind] == [i * 5 for i in range(40)]
    assert not pool._broken
    eventually(lambda: len(pool._processes) <= 2)


def text_of(error: BaseException) -> str:
    try:
        return f"{type(error).__name__}: {error}"
    except Exception as problem:  # a fault that is in __str__ itself
        return type(problem).__name__
