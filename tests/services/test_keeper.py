"""A service ends with whoever has started it, and takes everything with it."""

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from tests.eventually import eventually
from tests.services import grid_engine, slurm
from tests.services.keeper import ROOT

pytestmark = [pytest.mark.service, pytest.mark.timeout(180)]


@pytest.mark.parametrize(
    ("name", "missing", "daemons"),
    [
        ("slurm", slurm.missing_for, {"munged", "slurmctld", "slurmd"}),
        ("grid_engine", grid_engine.missing_for, {"sge_qmaster", "sge_execd"}),
    ],
)
@pytest.mark.parametrize("is_killed", [False, True], ids=["ended", "killed"])
def test_nothing_is_left_of_a_service(
    name: str, missing: Callable[[], str], daemons: set[str], is_killed: bool
) -> None:
    if lack := missing():
        pytest.skip(lack)
    command = [sys.executable, "-m", "tests.services", name]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT) as user:
        assert user.stdin is not None and user.stdout is not None
        folder = ""
        for line in user.stdout:
            if found := re.fullmatch(r"# logs: (.*)\n", line):
                folder = found[1]
                break
        assert Path(folder).is_dir()
        assert daemons <= {process.name() for process in of(folder)}
        if is_killed:
            user.kill()
        else:
            user.stdin.close()
    assert eventually(lambda: not of(folder) and not Path(folder).exists(), 20)


def of(folder: str) -> list[psutil.Process]:
    """The processes that have the folder in their environment or command line."""
    found = []
    for process in psutil.process_iter():
        try:
            if folder in " ".join([*process.cmdline(), *process.environ().values()]):
                found.append(process)
        except psutil.Error:
            pass  # it has ended
    return found
