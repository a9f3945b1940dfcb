"""What CPython demands of ProcessPoolExecutor, its own tests demand of ours."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import psutil
import pytest

from tests.cpython import runner, suite
from tests.cpython.conftest import COUNTS
from tests.cpython.exclusions import EXCLUSIONS
from tests.cpython.pools import POOLS

pytestmark = [
    pytest.mark.cpython,
    pytest.mark.timeout(1800),  # the runner has a limit for each test: this one is for a broken runner
]


def test_the_suite_has_the_classes_that_we_name(listing: Mapping[str, Sequence[str]]) -> None:
    assert sorted(listing) == sorted(suite.class_names())


@pytest.mark.parametrize("name", suite.class_names())
def test_class(
    name: str,
    manager_inside: bool,
    where: suite.Suite,
    listing: Mapping[str, Sequence[str]],
    record_property: Callable[[str, object], None],
) -> None:
    pool = "inside" if manager_inside else "apart"
    verdict = runner.run_class(pool, where, name, listing[name])
    record_property(COUNTS, (pool, verdict.run, verdict.excluded))
    assert not verdict.complaints, "\n\n".join([str(verdict), *verdict.complaints])


def test_the_pools_are_of_the_arrangement_that_they_are_called_by(manager_inside: bool) -> None:
    """The suite itself could not tell: what is tested twice has to be two things."""
    pool_class: Any = POOLS["inside" if manager_inside else "apart"]()
    with pool_class(1) as pool:
        pool.submit(abs, -1).result()
        commands = [" ".join(child.cmdline()) for child in psutil.Process().children(recursive=True)]
    assert any("interchange.manager_program" in command for command in commands) is not manager_inside


def test_each_exclusion_has_a_reason_and_a_class() -> None:
    known = {*suite.MIXINS, *suite.ALONE}
    assert all(exclusion.reason and exclusion.mixin in known for exclusion in EXCLUSIONS)
