"""The benchmarks still run. How fast anything is, no test asks."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent


def run_benchmarks(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "benchmarks", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)


def test_quick_mode_measures_two_lines_against_a_peer(tmp_path: Path) -> None:
    done = run_benchmarks(
        "--quick", "--lines", "submit,latency", "--peers", "inside,apart,ppe", "--out", str(tmp_path)
    )
    assert done.returncode == 0, done.stdout + done.stderr
    samples = json.loads((tmp_path / "benchmarks.json").read_text())["samples"]
    assert [sample["failure"] for sample in samples] == [""] * 6
    assert [sample["left_over"] for sample in samples] == [[]] * 6
    assert all(value > 0 for sample in samples for value in sample["values"].values())
    page = (tmp_path / "benchmarks.md").read_text()
    assert "submit one by one" in page
    assert "| inside | ppe |" in page


def test_quick_mode_measures_workflows(tmp_path: Path) -> None:
    lines = "pairs,fanout,hits,tree-curve,nest-curve,overhead,checkpoint,resume"
    done = run_benchmarks("--quick", "--lines", lines, "--peers", "inside", "--out", str(tmp_path))
    assert done.returncode == 0, done.stdout + done.stderr
    samples = json.loads((tmp_path / "benchmarks.json").read_text())["samples"]
    assert [(sample["line"], sample["failure"]) for sample in samples] == [(line, "") for line in lines.split(",")]


def test_quick_mode_measures_an_object_that_many_tasks_use(tmp_path: Path) -> None:
    pytest.importorskip("numpy")
    done = run_benchmarks("--quick", "--lines", "object", "--peers", "inside", "--out", str(tmp_path))
    assert done.returncode == 0, done.stdout + done.stderr
    (sample,) = json.loads((tmp_path / "benchmarks.json").read_text())["samples"]
    assert sample["failure"] == "" and sample["values"]["object_written"] >= 1  # the tasks have checked its digest


@pytest.mark.skipif(
    shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin") is None or shutil.which("curl") is None,
    reason="no nginx or no curl here",
)
def test_quick_mode_measures_files_of_a_web_server_beside_a_program(tmp_path: Path) -> None:
    lines = "file,files,files-alone"
    done = run_benchmarks("--quick", "--lines", lines, "--peers", "inside,curl", "--out", str(tmp_path))
    assert done.returncode == 0, done.stdout + done.stderr
    samples = json.loads((tmp_path / "benchmarks.json").read_text())["samples"]
    assert [(sample["failure"], sample["left_over"]) for sample in samples] == [("", [])] * 6
    for sample in samples:
        assert sample["values"].get("file_requests", 1) == 1
        assert sample["values"].get("files_connections", 0) <= 8


def test_a_program_that_is_not_there_is_named_and_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    done = run_benchmarks("--quick", "--lines", "files", "--peers", "wget", "--out", str(tmp_path))
    assert done.returncode == 0, done.stdout + done.stderr
    assert (tmp_path / "benchmarks.md").read_text().count("no wget on PATH") == 1


def test_a_peer_that_is_not_installed_is_named_and_left_out(tmp_path: Path) -> None:
    bare = tmp_path / "bare"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(bare)], check=True)
    done = run_benchmarks(
        "--quick", "--lines", "submit", "--peers", "parsl,ppe", "--peer-env", f"parsl={bare}/bin/python",
        "--out", str(tmp_path),
    )    # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert "No module named 'parsl'" in (tmp_path / "benchmarks.md").read_text()


@pytest.mark.parametrize("arguments", [("--lines", "nonsense"), ("--peer-env", "parsl=/nowhere")])
def test_a_wrong_option_is_refused_with_what_there_is(arguments: tuple[str, str]) -> None:
    done = run_benchmarks(*arguments)
    assert done.returncode == 2
    assert "submit" in done.stderr or "PEER=PYTHON" in done.stderr
