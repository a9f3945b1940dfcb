"""What type checkers of users see. CI runs this where mypy is installed; elsewhere the summary names the skip."""

import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = Path(__file__).with_name("typed_program.py")
ROOT = PROGRAM.parents[2]


def check(program: Path, cache: Path) -> subprocess.CompletedProcess[str]:
    """Runs mypy as a user does: strict, without this project's settings."""
    pytest.importorskip("mypy", reason="needs mypy: what users' type checkers see is NOT CHECKED")
    command = [sys.executable, "-m", "mypy", "--strict", "--config-file="]
    # Silent about the modules of this project, which is not installed here as a user has it.
    command += ["--follow-imports=silent", f"--cache-dir={cache}", str(program)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=110)


def check_passes(program: Path, folder: Path) -> None:
    done = check(program, folder)
    assert done.returncode == 0, done.stdout + done.stderr


def check_fails(program: Path, folder: Path, without: str, says: str) -> None:
    """Fails, for that reason, without the comment that silences the checker where an argument is wrong on purpose."""
    wrong = folder / "wrong.py"
    wrong.write_text(program.read_text().replace(f"  # type: ignore[{without}]", ""))
    done = check(wrong, folder)
    assert done.returncode == 1 and says in done.stdout, done.stdout + done.stderr


def check_runs(module: str) -> None:
    """Says that all is as typed, when it is run."""
    command = [sys.executable, "-W", "ignore::RuntimeWarning", "-m", module]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=110)
    assert (done.returncode, done.stdout) == (0, "all is as typed\n"), done.stderr


def test_a_strictly_typed_program_passes(tmp_path: Path) -> None:
    check_passes(PROGRAM, tmp_path)


def test_a_wrongly_typed_program_does_not(tmp_path: Path) -> None:
    check_fails(PROGRAM, tmp_path, without="arg-type", says='has incompatible type "float"')


def test_the_same_program_runs() -> None:
    check_runs("tests.client.typed_program")
