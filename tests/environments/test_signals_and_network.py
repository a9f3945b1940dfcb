"""Signals that a program ignores, blocks or lets kill it; and no terminal."""

from pathlib import Path

import pytest

from tests.environments.places import WORKS, Place, needs

pytestmark = pytest.mark.timeout(120)

IGNORED = ["SIGHUP", "SIGINT", "SIGTERM", "SIGCHLD", "SIGALRM", "SIGUSR1", "SIGQUIT"]


def test_all_signals_blocked(folder: Path) -> None:
    """As in a program that waits for them in a thread. Deaths of workers are told by one."""
    assert Place(steps=[["block_all"]]).run(folder) == WORKS


def test_signals_ignored_from_the_start(folder: Path) -> None:
    """As by nohup(1), and more."""
    assert Place(steps=[["ignore", name] for name in IGNORED]).run(folder) == WORKS


def test_signals_ignored_by_the_program(folder: Path) -> None:
    before = f"import signal\nfor name in {IGNORED}: signal.signal(getattr(signal, name), signal.SIG_IGN)"
    assert Place(before=before).run(folder) == WORKS


def test_a_broken_pipe_kills(folder: Path) -> None:
    before = "import signal\nsignal.signal(signal.SIGPIPE, signal.SIG_DFL)"
    assert Place(before=before).run(folder) == WORKS


def test_a_network_that_is_down(folder: Path) -> None:
    needs("no_network")
    outcome = Place(steps=[["no_network"]], arrangements=("inside", "apart", "by a port")).run(folder)
    error = outcome.pop("by a port")
    assert outcome == WORKS
    assert error.startswith("StartError: ") and "managers" in error and "127.0.0.1" in error


@pytest.mark.parametrize("name", ["", "no.such.host.invalid"])
def test_a_host_name_that_nobody_knows(folder: Path, name: str) -> None:
    needs("host_name", name)
    assert Place(steps=[["host_name", name]]).run(folder) == WORKS
