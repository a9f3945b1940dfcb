"""Programs that end while a workflow is under way: tasks that take further steps take them, and what is to be
written is written."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from parsl_pool import get_last_checkpoint
from parsl_pool.memoization.checkpoints import load_checkpoints

pytestmark = pytest.mark.timeout(90)
ROOT = Path(__file__).parents[2]

# Nothing here loads `concurrent.futures.thread` before the pool does, and nothing holds the program up.
PROGRAM = """
import os, signal, sys
import parsl_pool
from parsl_pool import Config, HighThroughputExecutor, ThreadPoolExecutor, bash_app, join_app, python_app


@python_app
def step(x):
    import time

    time.sleep(0.02)
    return x + 1


@join_app
def two_steps(x):
    return step(step(x))


@python_app(cache=True)
def kept(x):
    return step.func(x)


@bash_app
def note(path, number):
    return f"echo {{number}} > {{path}}"


def fail():
    raise ValueError("its own")


def count(error, record):
    with open("tries", "a") as file:
        file.write("x")
    return 1


executor = {executor}
pool = parsl_pool.load(Config([executor], checkpoint_mode="task_exit"))
number = 0
for _ in range(10):
    number = step(number)
note("number", two_steps(number))
futures = [kept(x) for x in range(20)]
failing = pool.options(retries=2, retry_delay=0.05, retry_handler=count).submit(fail)
failing.add_done_callback(lambda future: future.cancelled() or future.exception())
{then}
"""
PLACES = {"threads": "ThreadPoolExecutor()", "processes": "HighThroughputExecutor(max_workers_per_node=2)"}


def run(folder: Path, place: str, then: str) -> subprocess.CompletedProcess[str]:
    (folder / "program.py").write_text(PROGRAM.format(executor=PLACES[place], then=then))
    return subprocess.run(
        [sys.executable, "program.py"], cwd=folder, env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip


def kept_results(folder: Path) -> int:
    loaded = load_checkpoints(get_last_checkpoint(folder / "runinfo"))
    try:
        return len(list(loaded.calls_of("__main__.kept")))
    finally:
        loaded.close()


@pytest.mark.parametrize("then, code", [("", 0), ("sys.exit(7)", 7), ("del pool, futures", 0)])
@pytest.mark.parametrize("place", PLACES)
def test_a_workflow_goes_on_to_its_end(place: str, then: str, code: int, tmp_path: Path) -> None:
    done = run(tmp_path, place, then)
    assert (done.returncode, done.stdout, done.stderr) == (code, "", "")
    assert (tmp_path / "number").read_text() == "12\n"
    assert (tmp_path / "tries").read_text() == "xxx"
    assert kept_results(tmp_path) == 20


@pytest.mark.parametrize("place", PLACES)
def test_after_an_interrupt_the_program_ends_and_its_checkpoint_has_what_was_done(place: str, tmp_path: Path) -> None:
    done = run(tmp_path, place, "futures[4].result(); os.kill(os.getpid(), signal.SIGINT); futures[19].result(50)")
    assert done.stderr.rstrip().endswith("KeyboardInterrupt") and done.stderr.count("Traceback") == 1
    assert done.returncode != 0
    assert 1 <= kept_results(tmp_path) <= 20
