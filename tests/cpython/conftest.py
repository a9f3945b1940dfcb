"""Where CPython's suite is, and at the end of a run: how much of it was run."""

import warnings
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import pytest

from tests import leaks
from tests.cpython import runner, suite

COUNTS = "cpython_counts"  # the user property that carries (pool, run, excluded) of a class to the summary


@pytest.fixture(scope="session")
def where(tmp_path_factory: pytest.TempPathFactory) -> suite.Suite:
    """Where the running version's suite is; skips, and warns, if it is not on this machine."""
    try:
        return suite.find(Path(tmp_path_factory.mktemp("cpython")))
    except suite.SuiteMissing as missing:
        warnings.warn(f"CPython's own tests are NOT RUN: {missing}", stacklevel=1)
        pytest.skip(f"NOT RUN: {missing}")


@pytest.fixture(scope="session")
def listing(where: suite.Suite) -> Mapping[str, Sequence[str]]:
    """The suite's classes for process pools, and their tests."""
    return runner.listing(where)


@pytest.fixture(autouse=True)
def nothing_left_by_the_test(request: pytest.FixtureRequest, nothing_left_by_the_session: None) -> Iterator[None]:
    """As for all tests, but for semaphores: those of other sessions have the same kind of name.

    The suite makes many of its own, so two sessions at the same time would take each other's for leaks.
    """
    before = leaks.census()
    yield
    semaphores = {thing: text for thing, text in leaks.census().items() if "/sem.mp-" in text}
    leaks.fail_if_left(request.node.nodeid, {**before, **semaphores})


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    run, excluded = Counter[str](), Counter[str]()
    for reports in terminalreporter.stats.values():
        for report in reports:
            if getattr(report, "when", None) == "call":  # those of set-up and end carry the same properties
                counts = [value for name, value in report.user_properties if name == COUNTS]
                for pool, ran, left_out in counts:
                    run[pool] += ran
                    excluded[pool] += left_out
    for pool in run:
        terminalreporter.write_line(
            f"CPython {suite.MINOR}'s suite, {pool}: {run[pool]} tests run, {excluded[pool]} excluded"
        )
