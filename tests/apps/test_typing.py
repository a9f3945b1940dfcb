"""What type checkers of users see of apps. CI runs this where mypy is installed."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.client.test_typing import check

PROGRAM = Path(__file__).with_name("typed_workflow.py")
ROOT = PROGRAM.parents[2]


@pytest.mark.timeout(120)
def test_a_strictly_typed_workflow_passes(tmp_path: Path) -> None:
    done = check(PROGRAM, tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.timeout(120)
def test_a_wrong_argument_does_not(tmp_path: Path) -> None:
    wrong = tmp_path / "wrong.py"
    wrong.write_text(PROGRAM.read_text().replace("  # type: ignore[call-overload]", ""))
    done = check(wrong, tmp_path)
    assert done.returncode == 1 and 'matches argument type "str"' in done.stdout, done.stdout + done.stderr


def test_the_same_workflow_runs() -> None:
    command = [sys.executable, "-W", "ignore::RuntimeWarning", "-m", "tests.apps.typed_workflow"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (0, "all is as typed\n"), done.stderr
