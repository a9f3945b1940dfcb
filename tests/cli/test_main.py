"""The command as a whole: how it is called, and how it ends."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from parsl_pool._version import __version__
from parsl_pool.cli import commands
from parsl_pool.cli.main import command_modules, main

ROOT = Path(__file__).parents[2]
COMMAND = [sys.executable, "-m", "parsl_pool"]


def test_each_file_among_the_commands_is_a_command() -> None:
    files = {path.stem.replace("_", "-") for path in Path(commands.__path__[0]).glob("*.py")} - {"--init--"}
    assert set(command_modules()) == files and "checkpoints" in files


def test_a_new_file_is_a_new_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "say_it.py").write_text(
        '"""Says a word.\n\nAnd no more."""\n'
        "def add_arguments(parser): parser.add_argument('word')\n"
        "def run(options): print(options.word); return 3\n"
    )
    monkeypatch.setattr(commands, "__path__", [*commands.__path__, str(tmp_path)])
    assert main(["say-it", "hello"]) == 3
    assert capsys.readouterr().out == "hello\n"
    with pytest.raises(SystemExit):
        main(["--help"])
    assert "Says a word\n" in capsys.readouterr().out
    sys.modules.pop(f"{commands.__name__}.say_it")


@pytest.mark.parametrize("arguments", [[], ["no-such-command"], ["checkpoints"], ["checkpoints", "list", "--no-such"]])
def test_wrong_use_is_told_with_the_usage(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2
    assert "usage: parsl-pool" in capsys.readouterr().err


def test_the_version_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["--version"])
    assert caught.value.code == 0
    assert capsys.readouterr().out == f"parsl_pool {__version__}\n"


def test_it_runs_as_a_module_and_stops_quietly_when_nobody_reads_on(tmp_path: Path) -> None:
    read, write = os.pipe()
    os.close(read)
    clean = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [*COMMAND, "checkpoints", "list"], cwd=tmp_path, env=clean, stdout=write, stderr=subprocess.PIPE, text=True
    )
    os.close(write)
    assert (done.returncode, done.stderr) == (1, "")
    done = subprocess.run([*COMMAND, "checkpoints", "list"], cwd=tmp_path, env=clean, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "there are no checkpoints in runinfo\n")
