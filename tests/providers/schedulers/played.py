"""Puts the played commands on a machine."""

import os
import sys
from pathlib import Path

import pytest

COMMANDS = Path(__file__).with_name("fake_commands.py")
NAMES = (
    "sbatch squeue scancel sacct qsub qstat qacct qdel qselect bsub bjobs bhist bkill "
    "condor_submit condor_q condor_history condor_rm"
).split()


def install(folder: Path, kind: str, jobs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The commands in a folder on PATH, before the real ones; kind: which scheduler's they are."""
    folder.mkdir()
    for name in NAMES:
        (folder / name).write_text(f"#!{sys.executable} -IS\n{COMMANDS.read_text()}")
        (folder / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    monkeypatch.setenv("FAKE_JOBS", str(jobs))
    monkeypatch.setenv("FAKE_FLAVOUR", kind)
