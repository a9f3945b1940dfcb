"""Real fork servers: seen from the workers that they fork, and by what they leave on stderr."""

import gc
import os
import signal
import sys
import tempfile
import threading
from pathlib import Path
from typing import Any

import psutil
import pytest

from parsl_pool import ParslPoolExecutor
from tests.eventually import eventually
from tests.exits.conftest import Runner, run
from tests.recovery.arrangement import is_fork_server

__all__ = ["run"]

pytestmark = pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="looks into /proc")


def about_me() -> dict[str, Any]:
    """What a worker, and the fork server above it, have from before its first task."""
    return {
        "open": kinds_of_files(os.getpid()),
        "open above": kinds_of_files(os.getppid()),
        "collector": (gc.get_threshold(), gc.get_freeze_count(), gc.isenabled()),
        "threads": [threading.active_count(), len(os.listdir("/proc/self/task"))],
        "signals": {number: str(signal.getsignal(number)).split(" at ")[0] for number in signal.valid_signals()},
        "path": sys.path,
        "session is its own": os.getsid(0) == os.getpid(),
    }


def kinds_of_files(pid: int) -> list[str]:
    """What each open descriptor of a process refers to, without numbers and made-up names."""
    found = []
    for fd in os.listdir(f"/proc/{pid}/fd"):
        try:
            target = os.readlink(f"/proc/{pid}/fd/{fd}").split(":[")[0]
            found.append("a temporary file" if target.startswith(tempfile.gettempdir()) else target)
        except FileNotFoundError:  # the one of this listing
            continue
    return sorted(found)


def started_as() -> tuple[int, str]:
    """A worker's fork server, and the text of the program that its interpreter was started with."""
    return os.getppid(), sys.orig_argv[2]


def test_the_first_fork_server_is_a_fork_of_the_interchange_and_as_clean_as_a_fresh_one() -> None:
    with ParslPoolExecutor(1, manager_inside=True) as pool:
        forked, program = pool.submit(started_as).result()
        first = pool.submit(about_me).result()
        assert "parsl_pool.interchange.interchange import" in program
        assert is_fork_server(psutil.Process(forked)), "what ps shows"
        os.kill(forked, signal.SIGKILL)
        eventually(lambda: not psutil.pid_exists(forked))
        fresh, program = pool.submit(started_as).result()
        assert fresh != forked and "parsl_pool.interchange.fork_server import" in program
        assert pool.submit(about_me).result() == first


def test_all_its_processes_end_with_an_interchange_that_is_killed_at_once() -> None:
    """Also those of which nobody has heard yet."""
    for _ in range(5):
        with ParslPoolExecutor(1, manager_inside=True) as pool:
            future = pool.submit(started_as)
            os.kill(pool._backend.link._process.pid, signal.SIGKILL)
            assert future.result()
    # That nothing is left is what every test checks.


PRELOADED = {
    "quiet": "",
    "with_thread": "import threading, time\nthreading.Thread(target=time.sleep, args=(1000,), daemon=True).start()",
    "with_numbers": "import numpy\nnumpy.ones((500, 500)) @ numpy.ones((500, 500))",
    "with_last_words": "import atexit, os, sys\natexit.register(lambda: print('bye', os.getpid(), file=sys.stderr))",
    "broken": "raise ValueError('no such luck')",
    "ends_it": "raise SystemExit('I quit')",
}


@pytest.fixture
def preloaded(tmp_path: Path) -> Path:
    """A folder of modules that can be preloaded."""
    for name, text in PRELOADED.items():
        (tmp_path / f"preloaded_{name}.py").write_text(text)
    return tmp_path


SCRIPT = """
sys.path.append({folder!r})
with make(2, preload=["preloaded_{module}"]) as pool:
    module, parent, program = pool.submit(about_module, "preloaded_{module}").result()
    say("preloaded", module, "forked", "spawned import" not in program, "by", parent)
"""


@pytest.mark.parametrize(
    "module, forked, stderr",
    [
        ("quiet", True, ""),
        ("with_numbers", True, ""),
        ("with_thread", False, "parsl_pool: preload started threads, which a forked worker would not have"),
        ("broken", True, "parsl_pool: cannot preload preloaded_broken: ValueError: no such luck"),
    ],
)
def test_workers_are_forked_unless_preload_started_threads(
    run: Runner, manager_inside: bool, preloaded: Path, module: str, forked: bool, stderr: str
) -> None:
    if module == "with_numbers":
        pytest.importorskip("numpy")
    script = run(SCRIPT.format(folder=str(preloaded), module=module))
    assert script.ends() == 0, script
    assert script.seen[0].split()[:4] == ["preloaded", str(module != "broken"), "forked", str(forked)]
    if not manager_inside:
        stderr = ""  # it goes to the block's log
    assert script.stderr.startswith(stderr) and script.stderr.count("\n") == (stderr != ""), script.stderr


@pytest.mark.parametrize("manager_inside", [True], ids=["inside"])
def test_what_exit_handlers_of_the_fork_server_say_is_heard(run: Runner, preloaded: Path) -> None:
    script = run(SCRIPT.format(folder=str(preloaded), module="with_last_words"))
    assert script.ends() == 0, script
    fork_server = script.seen[0].split()[-1]
    assert f"bye {fork_server}" in script.stderr.splitlines(), script.stderr


def test_a_preload_that_ends_the_fork_server_is_told(run: Runner, preloaded: Path) -> None:
    script = run(f"""
sys.path.append({str(preloaded)!r})
try:
    with make(1, preload=["preloaded_ends_it"]) as pool:
        pool.submit(triple, 1).result()
except cf.process.BrokenProcessPool as error:
    say("broken", error)
""")
    assert script.ends() == 0, script
    said = "\n".join(script.seen)
    assert "the fork server ended (exit code 1)" in said and "SystemExit: I quit" in said, script


@pytest.mark.parametrize(
    "options",
    [
        "",
        ", max_tasks_per_child=1",
        ", mp_context=multiprocessing.get_context('spawn')",
        ", initializer=multiprocessing.current_process",
    ],
)
def test_no_warning_of_a_forgotten_file_is_ours(run: Runner, options: str) -> None:
    """Python tells of sockets and files that nobody closed, if one asks for it."""
    script = run(
        f"""
import multiprocessing
with make(2{options}) as pool:
    assert list(pool.map(triple, range(20))) == [triple(i) for i in range(20)]
    pool.submit(bytes, 1 << 20).result()
""",
        PYTHONWARNINGS="default",
    )
    assert script.ends() == 0, script
    assert script.stderr == ""
