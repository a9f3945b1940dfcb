"""`parsl-pool check` as a command: what it prints, and its exit status."""

from pathlib import Path

import pytest

from parsl_pool.cli.main import main

CONFIG = """
from parsl_pool import Config, HighThroughputExecutor, ThreadPoolExecutor
from parsl_pool.providers import LocalProvider


def config():
    provider = LocalProvider(max_blocks=2, worker_init="export A=1")
    blocks = HighThroughputExecutor("blocks", max_workers_per_node=1, provider=provider)
    return Config([blocks, ThreadPoolExecutor("threads")])
"""


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "site.py").write_text(CONFIG)
    return "site.py"


def test_it_prints_the_script_and_what_it_has_seen(site: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", site]) == 0
    out = capsys.readouterr().out
    assert "site.py: the Config is valid" in out and "HighThroughputExecutor 'blocks': blocks of a LocalProvider" in out
    assert "    | export A=1" in out and "manager_program" in out and "ThreadPoolExecutor 'threads'" in out
    assert main(["check", site, "--no-script", "--executor", "threads"]) == 0
    out = capsys.readouterr().out
    assert "export A=1" not in out and "blocks" not in out


def test_a_trial_on_this_machine(site: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", site, "--run", "--no-script"]) == 0
    out = capsys.readouterr().out
    assert out.count("a call takes") == 2 and "submitted as job" in out
    assert [path.name for path in tmp_path.iterdir() if path.name != "__pycache__"] == ["site.py"]


def test_a_wrong_config_is_told_in_a_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "wrong.py"
    path.write_text("from parsl_pool import Config\nconfig = Config([], retries=-1)\n")
    assert main(["check", str(path)]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("parsl-pool check:") and "wrong.py" in line and "executors must be" in line


@pytest.mark.parametrize("options", [["--timeout", "0"], ["--nodes", "0"], ["--nodes", "x"], []])
def test_wrong_use(options: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["check", *(["site.py"] if options else []), *options])
    assert caught.value.code == 2


def test_an_executor_that_is_not_there(site: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", site, "--executor", "nobody"]) == 1
    assert "'blocks', 'threads'" in capsys.readouterr().err
