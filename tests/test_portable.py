"""What only Linux has is used only where it may be: a selection of the suite runs without it, as it would on macOS.

`python -m tests.matrix --portable` runs the whole suite so.
"""

import os
import re
import select
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from parsl_pool import portable
from parsl_pool.interchange import stopped
from tests.conftest import ARRANGEMENTS
from tests.eventually import eventually
from tests.no_linux import sitecustomize

ROOT = Path(__file__).parents[1]
NO_LINUX = Path(sitecustomize.__file__).parent

SELECTION = [
    "tests/client/test_futures.py",
    "tests/client/test_large_arguments.py::test_many_large_tasks_come_back_right_and_take_little_memory",
    "tests/exits/test_killed.py::test_a_client_that_leaves_at_once_leaves_nothing",
    "tests/recovery/test_fault_table.py",
    "tests/recovery/test_interchange_lost.py::test_functions_arguments_and_dependencies_survive",
    "tests/recovery/test_interchange_lost.py::test_what_runs_apart_outlives_the_interchange",
    "-knot processor",  # the one that spins for seconds: Linux or not is all the same to it
]
"""In both arrangements: futures, large arguments, deaths of each part, exits. Some twenty seconds each."""


def run_portably(*command: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    """Run Python in portable mode."""
    env = {**os.environ, "PYTHONPATH": str(ROOT), "PARSL_POOL_PORTABLE": "1", **environment}
    return subprocess.run([sys.executable, *command], cwd=ROOT, env=env, capture_output=True, text=True, timeout=280)


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.skipif(portable.FORCED, reason="this whole session is in portable mode")
@pytest.mark.parametrize("arrangement", ARRANGEMENTS)
def test_the_pool_works_without_what_only_linux_has(arrangement: str) -> None:
    done = run_portably("-m", "pytest", "-q", "-p", "no:cacheprovider", f"--arrangement={arrangement}", *SELECTION)
    assert done.returncode == 0, done.stdout[-20_000:] + done.stderr[-5_000:]


POOL = """
import os, sys
from parsl_pool import ParslPoolExecutor

def opened():
    return os.getpid(), os.getppid(), os.listdir("/proc/self/fd")

with ParslPoolExecutor(1, manager_inside=True) as pool:
    worker, fork_server, _ = pool.submit(opened).result()
    interchange = pool._backend.link._process.pid
    for pid in os.getpid(), interchange, fork_server, worker:
        for fd in os.listdir(f"/proc/{pid}/fd"):
            try:
                print("opened", os.readlink(f"/proc/{pid}/fd/{fd}"))
            except FileNotFoundError:
                continue
"""
ONLY_LINUX_HAS = re.compile("memfd:|eventfd|eventpoll|pidfd|/dev/shm")


def kinds_of_descriptors(**environment: str) -> set[str]:
    """Those that processes of a pool have open and that only Linux has."""
    done = run_portably("-c", POOL, **environment)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("opened socket:") >= 4
    return set(ONLY_LINUX_HAS.findall(done.stdout))


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
def test_no_process_of_a_portable_pool_has_a_descriptor_of_a_kind_that_only_linux_has() -> None:
    assert kinds_of_descriptors() == set()
    assert {"memfd:", "eventpoll"} <= kinds_of_descriptors(PARSL_POOL_PORTABLE=""), "what there is to find"


# ---- the tests' own watch


@pytest.mark.skipif(sys.platform != "linux", reason="there would be nothing to refuse")
@pytest.mark.parametrize(
    "call, refused",
    [
        ("parsl_pool.interchange.shared_memory.create(1, 'x')", "os.memfd_create"),
        ("parsl_pool.interchange.loop.Loop()", "select.epoll"),
        ("parsl_pool.interchange.stopped.is_alive(1)", "open /proc/1/stat"),
        ("parsl_pool.interchange.parent_death.end_with_parent(1)", "ctypes.dlopen None"),
        ("parsl_pool.executors.high_throughput.executor.available_cores()", "os.sched_getaffinity"),
    ],
)
def test_a_use_of_what_only_linux_has_is_refused_and_written_down(tmp_path: Path, call: str, refused: str) -> None:
    """Here the modules are told that they may use it."""
    if "sched" in refused and hasattr(os, "process_cpu_count"):
        pytest.skip("this Python counts processors itself")
    report = tmp_path / "calls"
    script = f"""
from parsl_pool import portable
portable.FORCED = False
import {call.rpartition('.')[0]}
try:
    {call}
except RuntimeError as problem:
    print(problem)
"""
    done = run_portably("-c", script, PYTHONPATH=f"{NO_LINUX}:{ROOT}", **{sitecustomize.REPORT: str(report)})
    assert done.stdout == f"{refused}: this is no Linux\n", done.stderr
    assert refused in report.read_text() and call.split(".")[2] in report.read_text()


def test_a_session_in_which_something_was_refused_fails(tmp_path: Path) -> None:
    """Also if the code that asked for it went on as if nothing had been."""
    test = tmp_path / "test_asks.py"
    test.write_text("def test_nothing(): pass")
    report = tmp_path / "calls"
    command = ["-m", "pytest", "-q", "-p", "no:cacheprovider", "-c", f"{ROOT}/pyproject.toml", "-p", "tests.conftest"]
    assert run_portably(*command, str(test), **{sitecustomize.REPORT: str(report)}).returncode == 0
    report.write_text("os.memfd_create: by somebody")
    done = run_portably(*command, str(test), **{sitecustomize.REPORT: str(report)})
    assert done.returncode == pytest.ExitCode.TESTS_FAILED and "by somebody" in done.stderr


# ---- the questions


@pytest.fixture
def forced(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(portable, "FORCED", True)
    yield


def test_portable_mode_denies_what_is_there(forced: None) -> None:
    assert hasattr(select, "poll") and not portable.has(select, "poll")
    assert not portable.is_linux() and not portable.has_proc() and not portable.has_strong_order()


def test_without_it_the_system_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(portable, "FORCED", False)
    assert portable.has(select, "poll") and not portable.has(select, "no_such_call")
    assert portable.is_linux() is (sys.platform == "linux")
    assert portable.has_proc() is Path("/proc/self/stat").exists()


# ---- fallbacks that no other test needs


def test_who_is_stopped_or_dead_is_known_without_proc(forced: None) -> None:
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    with child:
        assert stopped.is_alive(child.pid) and stopped._state(child.pid) == "R"
        child.send_signal(signal.SIGSTOP)
        eventually(lambda: stopped._state(child.pid) == "T")
        child.kill()
        eventually(lambda: not stopped.is_alive(child.pid))
        assert stopped.is_there(child.pid), "nobody has waited for it"
    assert not stopped.is_alive(child.pid) and not stopped.is_there(child.pid)


FORK_SERVER = """
import os, sys, time
from parsl_pool.interchange import parent_death
parent_death._PATIENCE_S = 0.2
guardian = parent_death.Guardian(int(sys.argv[1]))
for ends in True, False:
    pid = os.fork()
    if pid == 0:
        os.setsid()
        guardian.leave()
        if not ends:
            print(os.getpid(), flush=True)
            time.sleep(1000)
        os._exit(0)
    guardian.watch(pid)
    if ends:
        os.waitpid(pid, 0)
        guardian.forget(pid)
time.sleep(1000)
"""


@pytest.fixture
def guarded() -> "Iterator[tuple[subprocess.Popen[str], int, int]]":
    """A fork server, its worker, and the pipe that ends with their manager."""
    env = {**os.environ, "PYTHONPATH": str(ROOT), "PARSL_POOL_PORTABLE": "1"}
    read, life = os.pipe()
    command = [sys.executable, "-c", FORK_SERVER, str(read)]
    with subprocess.Popen(command, env=env, stdout=subprocess.PIPE, text=True, pass_fds=[read]) as server:
        os.close(read)
        assert server.stdout is not None
        worker = int(server.stdout.readline())
        assert stopped.is_alive(worker)
        yield server, worker, life
        server.kill()
    os.close(life)


def test_a_busy_worker_ends_with_its_fork_server_where_no_kernel_sees_to_that(
    guarded: "tuple[subprocess.Popen[str], int, int]",
) -> None:
    server, worker, _ = guarded
    server.kill()
    eventually(lambda: not stopped.is_alive(worker))


def test_stopped_ones_end_with_their_manager_too(guarded: "tuple[subprocess.Popen[str], int, int]") -> None:
    server, worker, life = guarded
    os.kill(server.pid, signal.SIGSTOP)
    os.kill(worker, signal.SIGSTOP)
    eventually(lambda: stopped._state(server.pid) == stopped._state(worker) == "T")
    with open(os.devnull) as nothing:
        os.dup2(nothing.fileno(), life)  # closed, but for the number
    assert server.wait(30) == -signal.SIGKILL
    eventually(lambda: not stopped.is_alive(worker))


# ---- Windows


@pytest.mark.parametrize(
    "statement",
    [
        "import parsl_pool",
        "from parsl_pool import ParslPoolExecutor",
        "from parsl_pool.executors.threads import ThreadPoolExecutor",
        "import parsl_pool.interchange.worker",
    ],
)
def test_windows_gets_an_error_that_says_what_to_do_instead(statement: str) -> None:
    script = f"import sys; sys.platform = 'win32'\ntry:\n    {statement}\nexcept ImportError as problem: print(problem)"
    done = run_portably("-c", script)
    assert done.stdout == "parsl_pool does not run on Windows; use it in WSL, or on Linux or macOS\n", done.stderr
