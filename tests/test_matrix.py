import subprocess
import sys
from pathlib import Path

import pytest

from tests import matrix

MINOR = f"{sys.version_info.major}.{sys.version_info.minor}"
EVENTUALLY = str(Path(__file__).with_name("test_eventually.py"))


def test_an_interpreter_is_found_by_its_version_and_not_by_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shim, real = tmp_path / "shims", tmp_path / "real"
    for folder, text in (shim, "exit 127"), (real, f'exec "{sys.executable}" "$@"'):
        folder.mkdir()
        (folder / f"python{MINOR}").write_text(f"#!/bin/sh\n{text}\n")
        (folder / f"python{MINOR}").chmod(0o755)
    monkeypatch.setenv("PATH", f"{shim}:{real}:/bin")
    assert matrix.interpreter(MINOR) == real / f"python{MINOR}"


def test_a_missing_interpreter_is_a_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("PYENV_ROOT", str(tmp_path))
    monkeypatch.setattr(matrix, "CACHE", tmp_path / "cache")
    assert matrix.main(["--python", MINOR]) == 1
    assert "| apart | 0 | 0 | 0 | 0 | not run: there is no such interpreter here" in capsys.readouterr().out


def test_a_run_is_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(matrix, "CACHE", tmp_path)
    outcome = matrix.run_suite(Path(sys.executable), MINOR, "inside", ["-k", "ctrl_c or value", EVENTUALLY])
    assert outcome.passed == 3 and outcome.is_good, (tmp_path / f"{MINOR}-inside.log").read_text()


def test_a_portable_run_is_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The tests see it in their environment, and so do the pools that they make."""
    monkeypatch.setattr(matrix, "CACHE", tmp_path)
    test = tmp_path / "test_mode.py"
    test.write_text("import os\ndef test_mode(): assert os.environ['PARSL_POOL_PORTABLE'] == '1'")
    options = ["-c", str(matrix.ROOT / "pyproject.toml"), "-p", "tests.conftest", str(test)]
    wanted = matrix.run_suite(Path(sys.executable), MINOR, "inside", options, portable=True)
    assert wanted.is_good, (tmp_path / f"{MINOR}-inside-portable.log").read_text()
    assert matrix.run_suite(Path(sys.executable), MINOR, "inside", options).failed == 1


def test_a_run_that_fails_or_does_not_start_is_not_good(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(matrix, "CACHE", tmp_path)
    outcome = matrix.run_suite(Path(sys.executable), MINOR, "inside", ["--no-such-option"])
    assert not outcome.is_good and "pytest exited 4" in outcome.trouble
    broken = tmp_path / "test_broken.py"
    broken.write_text("def test_a(): assert False\ndef test_b(): pass\n")
    subprocess.run([sys.executable, "-m", "pytest", "-q", f"--junitxml={tmp_path / 'x.xml'}", str(broken)])
    assert matrix.counts(tmp_path / "x.xml")[2:5] == (1, 1, 0)
