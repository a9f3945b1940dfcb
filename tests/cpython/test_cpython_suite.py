"""What CPython demands of ProcessPoolExecutor, its own tests demand of ours."""

from collections.abc import Callable, Mapping, Sequence

import pytest

from tests.cpython import runner, suite
from tests.cpython.conftest import COUNTS
from tests.cpython.exclusions import EXCLUSIONS

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


def test_each_exclusion_has_a_reason_and_a_class() -> None:
    known = {*suite.MIXINS, *suite.ALONE}
    assert all(exclusion.reason and exclusion.mixin in known for exclusion in EXCLUSIONS)
