"""The blocks that a program leaves behind which was killed by kill -9."""

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from parsl_pool.cli.main import main
from parsl_pool.providers import LocalProvider, SimpleLauncher
from parsl_pool.providers.slurm import SlurmProvider
from parsl_pool.run_directory import RunDirectory
from parsl_pool.scaling.journal import Journal, journals_in
from tests.eventually import eventually
from tests.providers.schedulers import played

pytestmark = pytest.mark.timeout(60)

ROOT = Path(__file__).parents[2]
PROGRAM = """
import sys, time
from parsl_pool import Config, HighThroughputExecutor, ParslPoolExecutor
from parsl_pool.providers import SimpleLauncher
from parsl_pool.providers.slurm import SlurmProvider

provider = SlurmProvider(
    launcher=SimpleLauncher(), init_blocks=2, max_blocks=2, worker_init="# hold", cmd_timeout=20
)
executor = HighThroughputExecutor("far away", provider=provider, address="127.0.0.1")
pool = ParslPoolExecutor(Config([executor], run_dir=sys.argv[1]))
pool.submit(abs, 1)
while len([one for one in executor.status().values() if one.message != "it is being submitted"]) < 2:
    time.sleep(0.01)
print("ready", flush=True)
time.sleep(1000)
"""


@pytest.fixture
def queue(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The jobs of a scheduler that is played: those whose script says "hold" wait for ever."""
    jobs = tmp_path / "queue"
    jobs.mkdir()
    played.install(tmp_path / "bin", "slurm", jobs, monkeypatch)
    return jobs


@pytest.fixture
def left(queue: Path, tmp_path: Path) -> Iterator[Path]:
    """The directory of a run whose program was killed when two of its jobs were waiting."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", PROGRAM, str(tmp_path / "runs")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as program:
        try:
            assert program.stdout is not None and program.stdout.readline() == "ready\n"
        finally:
            os.kill(program.pid, signal.SIGKILL)
    yield tmp_path / "runs" / "000"


def deleted(queue: Path) -> list[bool]:
    return [(job / "deleted").exists() for job in sorted((queue / "jobs").iterdir()) if job.is_dir()]


def test_what_a_killed_program_has_left_is_listed_and_ended(
    left: Path, queue: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["blocks", "list", str(left)]) == 0
    text = capsys.readouterr().out
    assert text.count("not known to have ended") == 2 and "far away: block 1, job " in text
    assert deleted(queue) == [False, False] and (left / "jobs-left").exists()
    eventually(lambda: main(["blocks", "cancel", str(left)]) == 0)  # its interchange holds the lock for a moment
    text = capsys.readouterr().out
    assert text.count("CANCELLED") == 2 and deleted(queue) == [True, True] and not (left / "jobs-left").exists()
    assert main(["blocks", "cancel", str(left)]) == 0
    assert "nothing is left" in capsys.readouterr().out
    assert main(["blocks", "list", "--json", str(left)]) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [(line["block"], line["state"], line["provider"]) for line in lines] == [
        ("0", "CANCELLED", "slurm"), ("1", "CANCELLED", "slurm"),
    ]  # fmt: skip


def test_a_job_whose_id_nobody_had_time_to_write_down_is_found_by_its_name(
    left: Path, queue: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (journal,) = (left / "blocks").glob("journal-*.jsonl")
    lines = [line for line in journal.read_text().splitlines() if '"submitted"' not in line]
    journal.write_text("\n".join(lines) + '\n{"event": "submit')  # the last one was cut off
    assert main(["blocks", "list", str(left)]) == 0
    assert capsys.readouterr().out.count("perhaps submitted") == 2
    eventually(lambda: main(["blocks", "cancel", str(left)]) == 0)
    assert deleted(queue) == [True, True]


def test_a_scheduler_that_refuses_is_told(left: Path, queue: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (queue / "fail-scancel").write_text("yes")
    eventually(lambda: main(["blocks", "cancel", str(left)]) == 1 and "could not be" in capsys.readouterr().out)
    (queue / "fail-scancel").unlink()
    assert main(["blocks", "cancel", str(left)]) == 0 and deleted(queue) == [True, True]


def test_a_run_that_goes_on_is_left_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = RunDirectory(tmp_path)
    try:
        assert main(["blocks", "cancel", run.path]) == 1
        assert "this run goes on" in capsys.readouterr().err
    finally:
        run.close()
    assert main(["blocks", "cancel", run.path]) == 1
    assert "no run that had blocks" in capsys.readouterr().err
    assert main(["blocks", "list", str(tmp_path / "nowhere")]) == 1


def test_blocks_of_this_machine_end_with_their_program(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    journal = Journal(str(tmp_path), "near", LocalProvider())
    journal.submitting("0", "parsl_pool.near.0")
    journal.submitted("0", "near.0.sh")
    assert not (tmp_path / "jobs-left").exists()
    assert main(["blocks", "cancel", str(tmp_path)]) == 0
    assert "ENDED with its program" in capsys.readouterr().out


def test_a_file_that_others_may_write_is_not_opened(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What is in it can run code."""
    journal = Journal(str(tmp_path), "far", SlurmProvider(launcher=SimpleLauncher()))
    journal.submitting("0", "parsl_pool.far.0")
    os.chmod(journal.path, 0o666)
    assert main(["blocks", "cancel", str(tmp_path)]) == 1
    assert "not yours alone" in capsys.readouterr().err


def test_a_journal_tells_what_was_written_and_a_provider_that_can_not_be_copied_is_no_obstacle(tmp_path: Path) -> None:
    provider: Any = LocalProvider()
    provider.unpicklable = threading.Lock()
    journal = Journal(str(tmp_path), "a/b c", provider)
    for block in "012":
        journal.submitting(block, f"parsl_pool.x.{block}")
    journal.submitted("1", "job1")
    journal.ended("1", "COMPLETED")
    journal.ended("1", "FAILED")
    (read,) = journals_in(str(tmp_path))
    jobs = [(job.block, job.job, job.state) for job in read.jobs]
    assert jobs == [("0", "", ""), ("1", "job1", "COMPLETED"), ("2", "", "")]
    assert [job.block for job in read.left] == ["0", "2"] and read.label == "a/b c"


def test_a_temporary_directory_with_jobs_is_not_swept(tmp_path: Path) -> None:
    left = RunDirectory(below=str(tmp_path))
    os.close(left._lock)  # as if killed
    Journal(left.path, "far", SlurmProvider(launcher=SimpleLauncher())).submitting("0", "parsl_pool.far.0")
    RunDirectory(below=str(tmp_path)).close()
    assert os.path.exists(left.path)
    os.unlink(os.path.join(left.path, "jobs-left"))
    RunDirectory(below=str(tmp_path)).close()
    assert not os.path.exists(left.path)
