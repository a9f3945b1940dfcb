"""For all tests: a session of their own, what they may leave behind (nothing), and the options."""

import inspect
import os
import shutil
import sys
import tempfile
from collections.abc import Generator, Iterator
from multiprocessing import resource_tracker
from pathlib import Path
from typing import Any

import pytest

from parsl_pool import Config, portable
from parsl_pool.run_directory import RunPlace
from tests import leaks
from tests.no_linux import sitecustomize

pytest_plugins = ["tests.services.fixtures"]

NO_LINUX = Path(sitecustomize.__file__).parent

ARRANGEMENTS = {"inside": True, "apart": False}


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("parsl_pool")
    group.addoption("--kill-rounds", type=int, default=3, help="how often a kill test kills (default: 3)")
    group.addoption(
        "--leak-patience",
        type=float,
        default=leaks.PATIENCE_S,
        help="seconds that a test may take to let go of what it had (default: %(default)s)",
    )
    group.addoption(
        "--arrangement",
        choices=[*ARRANGEMENTS, "both"],
        default="both",
        help="where the manager runs in tests that ask for `manager_inside`: in the interchange's process,"
        " apart from it, or each test twice (default: %(default)s)",
    )


def pytest_configure(config: pytest.Config) -> None:
    leaks.mark_this_session()
    leaks.PATIENCE_S = config.getoption("--leak-patience")
    # The standard library starts its tracker when first needed and keeps it: here, so that no test does.
    resource_tracker.ensure_running()
    _make_no_runinfo()
    # A place of our own, so that others' temporary files are not taken for ours. Its name is short: sockets
    # are made below it, and their paths may have 107 bytes. pytest's own files stay where one looks for them.
    os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", tempfile.gettempdir())
    # Beside that of a session around this one (pytest-xdist's, say), not in it, for the same reason.
    above = Path(tempfile.gettempdir())
    root = Path(tempfile.mkdtemp(prefix="pp-", dir=above.parent if above.name.startswith("pp-") else above))
    config.add_cleanup(lambda: shutil.rmtree(root, ignore_errors=True))
    os.environ["TMPDIR"] = tempfile.tempdir = str(root)
    if portable.FORCED:
        # Every Python that is started from here refuses to parsl_pool what only Linux has, as this one does by now.
        os.environ["PYTHONPATH"] = os.pathsep.join([str(NO_LINUX), *filter(None, [os.environ.get("PYTHONPATH")])])
        os.environ.setdefault(sitecustomize.REPORT, str(root / "linux-calls"))


def _make_no_runinfo() -> None:
    """Most pools of tests are not about the directories of runs, and a Config that does not say makes one where the
    tests stand. Those that are say where, or run in a process of their own."""
    begin = RunPlace.__init__
    default = inspect.signature(Config).parameters["run_dir"].default

    def begin_elsewhere(self: RunPlace, path: str | None) -> None:
        begin(self, None if path == default else path)

    RunPlace.__init__ = begin_elsewhere  # type: ignore[method-assign]  # that is the point


@pytest.hookimpl(hookwrapper=True)
def pytest_report_to_serializable() -> Generator[None, Any, None]:
    """A report goes to another process, by pytest-xdist, which ends the session if half a surrogate pair is in it.
    Tests that throw rubbish at the pool have that in their reports when they fail."""
    outcome = yield
    outcome.force_result(_encodable(outcome.get_result()))


def _encodable(value: Any) -> Any:
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode()
    if isinstance(value, dict):
        return {_encodable(key): _encodable(each) for key, each in value.items()}
    return type(value)(map(_encodable, value)) if type(value) in (list, tuple) else value


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """Fails a session in portable mode in which anything asked for what only Linux has, be the error caught or not."""
    report = os.environ.get(sitecustomize.REPORT)
    if report and os.path.exists(report):
        print(f"\nIn portable mode, but asked for what only Linux has:\n{Path(report).read_text()}", file=sys.stderr)
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Runs a test that takes `manager_inside` in each arrangement, unless it names them itself."""
    named = [name for mark in metafunc.definition.iter_markers("parametrize") for name in mark.args[:1]]
    if "manager_inside" in metafunc.fixturenames and not any("manager_inside" in name for name in named):
        chosen = metafunc.config.getoption("--arrangement")
        names = list(ARRANGEMENTS) if chosen == "both" else [chosen]
        # scope: a pool that lives as long as its module may depend on it
        values = [ARRANGEMENTS[name] for name in names]
        metafunc.parametrize("manager_inside", values, ids=names, scope="session")


@pytest.fixture(scope="session")
def kill_rounds(request: pytest.FixtureRequest) -> int:
    """How often a kill test kills."""
    rounds: int = request.config.getoption("--kill-rounds")
    return rounds


@pytest.fixture(scope="session", autouse=True)
def nothing_left_by_the_session() -> Iterator[None]:
    """Fails the last test if something of longer life than a test was left, say by a fixture of a module."""
    before = leaks.census()
    yield
    leaks.fail_if_left("the session", before)


@pytest.fixture(autouse=True)
def nothing_left_by_the_test(
    request: pytest.FixtureRequest, nothing_left_by_the_session: None
) -> Iterator[None]:
    """Fails a test that leaves something behind. Set up first in its scope, and so torn down last."""
    before = leaks.census()
    yield
    if not leaks.is_kept():
        leaks.fail_if_left(request.node.nodeid, before)
