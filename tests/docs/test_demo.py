"""The demo of the README: it does its work, survives its kill, and would say so if anything were wrong."""

import os
import pty
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from examples.demo import work

ROOT = Path(__file__).parents[2]
INTERCHANGE = ROOT / "interchange"
DEMO = [sys.executable, "-m", "examples.demo"]


def run(*options: object) -> "subprocess.CompletedProcess[str]":
    command = [*DEMO, *map(str, options)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=100)


@pytest.mark.slow
def test_the_demo_reads_the_standard_library_and_survives_the_loss_of_a_worker() -> None:
    done = run("--workers", 2)
    assert done.returncode == 0, done.stdout + done.stderr
    summary = re.search(r"(\d+) killed on purpose, (\d+) lost", done.stdout)
    assert summary is not None, done.stdout
    killed, lost = map(int, summary.groups())
    assert 1 <= killed <= lost
    (handed_in,) = re.findall(r"(\d+) tasks were handed in", done.stdout)
    assert int(handed_in) > 2000
    assert "Checked:" in done.stdout and "WRONG" not in done.stdout


def test_the_demo_reads_a_folder_of_one_s_own() -> None:
    done = run("--workers", 2, "--folder", INTERCHANGE)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Checked:" in done.stdout
    assert "\r" not in done.stdout  # no terminal: nothing moves


def test_the_demo_says_if_there_is_nothing_to_read(tmp_path: Path) -> None:
    done = run("--folder", tmp_path)
    assert done.returncode == 2
    assert str(tmp_path) in done.stderr


def test_on_a_terminal_one_line_moves() -> None:
    ours, theirs = pty.openpty()
    command = [*DEMO, "--workers", "2", "--folder", str(INTERCHANGE)]
    process = subprocess.Popen(command, cwd=ROOT, stdout=theirs, stderr=theirs, stdin=theirs)
    os.close(theirs)
    shown = b""
    try:
        while data := os.read(ours, 65536):
            shown += data
    except OSError:  # on Linux that is how a terminal ends
        pass
    finally:
        os.close(ours)
        assert process.wait(60) == 0, shown
    assert b"\r[" in shown and b"Checked:" in shown


# ---- the work itself, without a pool


def test_surveys_come_out_the_same_in_whatever_groups_they_are_merged() -> None:
    modules = sorted(path.name for path in INTERCHANGE.glob("*.py"))
    surveys = [work.survey(work.read(str(INTERCHANGE), module)) for module in modules]
    half = len(surveys) // 2
    whole = work.merge(surveys)
    assert work.merge([work.merge(surveys[half:]), work.merge(surveys[:half])]) == whole
    assert whole.modules == len(surveys) and whole.functions > 50


def test_functions_that_differ_in_their_name_alone_have_one_shape(tmp_path: Path) -> None:
    body = '(a, b):\n    """{}"""\n    if a:\n        return b\n    return [a for _ in b]\n'
    code = f"def one{body.format('One.')}\ndef two{body.format('Two.')}\ndef three(a): pass\n"
    (tmp_path / "m.py").write_text(code)
    one, two, three = work.read(str(tmp_path), "m.py").functions
    assert one.shape == two.shape != three.shape
    assert (one.where, one.lines, one.branches) == ("m.py:1 one", 5, 2)


def test_a_file_that_is_no_python_still_has_lines(tmp_path: Path) -> None:
    (tmp_path / "m.py").write_text("this is {{ a }} template\n")
    assert work.read(str(tmp_path), "m.py") == work.Facts("m.py", 1, Counter(), frozenset(), [])


def test_modules_with_the_same_names_are_as_close_as_can_be() -> None:
    names = Counter({f"name_{number}": 1 for number in range(100)})
    others = Counter({f"other_{number}": 1 for number in range(100)})
    some, same, other = (
        work.sketch(work.Facts(module, 1, words, frozenset(), []))
        for module, words in [("a", names), ("b", names), ("c", others)]
    )
    assert work.compare([some, other], [some, same]) == [
        work.Pair(1.0, "a", "b"), work.Pair(0.0, "a", "c"), work.Pair(0.0, "b", "c")
    ]  # fmt: skip
