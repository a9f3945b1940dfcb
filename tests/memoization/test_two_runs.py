"""A program that is killed, and started again: what it had finished is not done again."""

import os
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).parents[2]
TASKS = 40

PROGRAM = f"""
import os, sys
import parsl_pool
from parsl_pool import Config, HighThroughputExecutor, get_last_checkpoint, python_app

folder, is_second = sys.argv[1], len(sys.argv) > 2
files = get_last_checkpoint(folder + "/runs") if is_second else []
config = Config([HighThroughputExecutor(max_workers_per_node=1)], run_dir=folder + "/runs",
                checkpoint_mode="task_exit", checkpoint_files=files)


@python_app(cache=True)
def work(x, y=1):
    import os, time
    descriptor = os.open(folder + "/ledger", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(descriptor, b"%d\\n" % x)
    os.close(descriptor)
    time.sleep(0.02)  # the task's work
    return x * x


folder = os.path.abspath(folder)
with parsl_pool.load(config):
    futures = [work(x) for x in range({TASKS})]
    for x, future in enumerate(futures):
        assert future.result() == x * x
        print(x, flush=True)
"""


def ledger(folder: Path) -> Counter[int]:
    """How often each task was begun."""
    path = folder / "ledger"
    return Counter(map(int, path.read_text().split())) if path.exists() else Counter()


def test_a_program_that_was_killed_goes_on_where_it_was(tmp_path: Path) -> None:
    script = tmp_path / "program.py"
    script.write_text(PROGRAM)
    clean = {**os.environ, "PYTHONPATH": str(ROOT)}
    first = subprocess.Popen([sys.executable, script, tmp_path], env=clean, stdout=subprocess.PIPE, text=True)
    assert first.stdout is not None
    for line in first.stdout:
        if int(line) == 10:
            first.send_signal(signal.SIGKILL)
    first.wait()
    first.stdout.close()
    begun = ledger(tmp_path)
    assert 11 <= len(begun) < TASKS
    done = subprocess.run(
        [sys.executable, script, tmp_path, "again"], env=clean, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    assert [int(line) for line in done.stdout.split()] == list(range(TASKS))
    again = {x for x, times in ledger(tmp_path).items() if times > 1}
    assert set(ledger(tmp_path)) == set(range(TASKS))
    # What was under way, or finished and not yet on disk, when the program was killed.
    assert len(again) <= len(begun) / 2, (again, begun)
