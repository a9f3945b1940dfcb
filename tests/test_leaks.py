"""Tests of tests/leaks.py, by really leaking; those of conftest.py run a pytest inside this one."""

import logging
import os
import signal
import socket
import subprocess
import sys
import tempfile
import textwrap
import threading
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from tests import leaks
from tests.eventually import eventually
from tests.leaks import Thing

ROOT = Path(__file__).parents[1]
UNTIL_STDIN_ENDS = [sys.executable, "-c", "import sys; sys.stdin.read()"]

Undo = Callable[[], object]
RunTests = Callable[..., tuple[dict[str, int], str]]


def leak_a_child() -> Undo:
    child = subprocess.Popen(UNTIL_STDIN_ENDS, stdin=subprocess.PIPE)
    return lambda: child.communicate()


def leak_an_orphan_in_a_session_of_its_own() -> Undo:
    start = "import subprocess; print(subprocess.Popen(['sleep', '60'], stdout=2, start_new_session=1).pid)"
    orphan = int(subprocess.check_output([sys.executable, "-c", start]))
    return lambda: os.kill(orphan, signal.SIGKILL)


def leak_a_grandchild_without_the_token() -> Undo:
    script = "import subprocess, sys; subprocess.run(['cat'], env={})"
    child = subprocess.Popen([sys.executable, "-c", script], stdin=subprocess.PIPE)
    eventually(lambda: psutil.Process(child.pid).children()[0].name() == "cat")
    return lambda: child.communicate()


def leak_a_zombie() -> Undo:
    child = os.posix_spawnp("true", ["true"], os.environ)
    eventually(lambda: psutil.Process(child).status() == psutil.STATUS_ZOMBIE)
    return lambda: os.waitpid(child, 0)


def leak_a_thread() -> Undo:
    end = threading.Event()
    thread = threading.Thread(target=end.wait, name="parsl-pool-kernel")
    thread.start()

    def undo() -> None:
        end.set()
        thread.join()

    return undo


def leak_a_socket() -> Undo:
    return socket.socket().close


def leak_a_pipe_s_one_end() -> Undo:
    reading, writing = os.pipe()
    os.close(writing)
    return lambda: os.close(reading)


def leak_an_eventfd() -> Undo:
    """One of two: they look the same, so they have to be counted."""
    if not hasattr(os, "eventfd"):
        return leak_a_memfd()  # Python 3.10 has no eventfd
    first, second = os.eventfd(0), os.eventfd(0)
    os.close(first)
    return lambda: os.close(second)


def leak_a_memfd() -> Undo:
    memory = os.memfd_create("parsl-pool-slab")
    return lambda: os.close(memory)


def leak_shared_memory() -> Undo:
    path = leaks.SHARED_MEMORY / f"parsl-pool-{leaks.TOKEN}"
    path.touch()
    return path.unlink


def leak_a_temporary_directory() -> Undo:
    return Path(tempfile.mkdtemp(prefix="parsl-pool-")).rmdir


def leak_a_level() -> Undo:
    logger = logging.getLogger("parsl_pool.leaking")
    logger.setLevel(logging.DEBUG)
    return lambda: logger.setLevel(logging.NOTSET)


LEAKS: dict[Callable[[], Undo], str] = {
    leak_a_child: "sys.stdin.read()",
    leak_an_orphan_in_a_session_of_its_own: "sleep 60",
    leak_a_grandchild_without_the_token: ": cat",
    leak_a_zombie: "nobody waited for it",
    leak_a_thread: "thread parsl-pool-kernel",
    leak_a_socket: "socket:[",
    leak_a_pipe_s_one_end: "pipe:[",
    leak_an_eventfd: "descriptor ",
    leak_a_memfd: "memfd:parsl-pool-slab",
    leak_shared_memory: "/dev/shm/parsl-pool-",
    leak_a_temporary_directory: "temporary file or folder ",
    leak_a_level: "level 10 of logger 'parsl_pool.leaking'",
}


@pytest.mark.parametrize("leak, text", LEAKS.items(), ids=[leak.__name__ for leak in LEAKS])
def test_what_is_left_is_seen_and_named_and_gone_when_it_is_gone(leak: Callable[[], Undo], text: str) -> None:
    before = leaks.census()
    undo = leak()
    try:
        # eventually: a process that has just been started has no command line yet
        eventually(lambda: [line for line in leaks.left_behind(before, within=0).values() if text in line])
    finally:
        undo()
    assert leaks.left_behind(before) == {}


def test_what_goes_away_within_the_limit_is_no_leak() -> None:
    before = leaks.census()
    thread = threading.Thread(target=threading.Event().wait, args=(0.1,), name="parsl-pool-late")
    thread.start()
    assert leaks.left_behind(before) == {}


def test_threads_of_others_are_not_ours() -> None:
    before = leaks.census()
    end = threading.Event()
    thread = threading.Thread(target=end.wait, name="someone-else")
    thread.start()
    assert leaks.left_behind(before, within=0) == {}
    end.set()
    thread.join()


@pytest.mark.parametrize(
    "use",
    [
        "f = open(path, 'w+b')",
        "f = open(path, 'w+b'); f.truncate(1); m = mmap.mmap(f.fileno(), 1); f.close()",
        "f = open(path + '-', 'w+b'); os.rename(f.name, path)",
        "s = get_context('spawn').Semaphore(); os.link('/dev/shm/sem.' + s._semlock.name[1:], path)",
    ],
    ids=["open", "mapped", "renamed", "semaphore"],
)
def test_shared_memory_that_a_stranger_uses_is_not_ours(use: str) -> None:
    """A stranger: not our child any more, and without our token."""
    before = leaks.census()
    path = leaks.SHARED_MEMORY / f"psm_stranger-{leaks.TOKEN}"
    code = f"import mmap, os, sys, time; from multiprocessing import get_context; path = {str(path)!r}; {use}"
    start = "import subprocess, sys; print(subprocess.Popen(sys.argv[1:], stdout=2, env={}).pid)"
    command = [sys.executable, "-c", start, sys.executable, "-c", f"{code}; time.sleep(60)"]
    stranger = int(subprocess.check_output(command))
    try:
        eventually(path.exists)
        assert Thing("shared memory", path.name) not in leaks.left_behind(before, within=0)
    finally:
        os.kill(stranger, signal.SIGKILL)
        eventually(lambda: Thing("shared memory", path.name) in leaks.left_behind(before, within=0))
        path.unlink()


def test_what_a_stranger_leaves_beside_shared_memory_is_not_ours() -> None:
    """Other programs of this machine keep files there that nobody has open."""
    before = leaks.census()
    path = leaks.SHARED_MEMORY / f"tmp{leaks.TOKEN}"
    path.mkdir()
    try:
        assert leaks.left_behind(before, within=0) == {}
    finally:
        path.rmdir()


@pytest.fixture
def run_tests(tmp_path: Path) -> RunTests:
    """Runs a test file under this project's conftest; gives the counts by outcome and pytest's output."""

    def run(source: str, *options: str) -> tuple[dict[str, int], str]:
        file = tmp_path / "test_inner.py"
        file.write_text("import subprocess, sys, pytest\nfrom tests import leaks\n" + textwrap.dedent(source))
        setup = [f"--rootdir={ROOT}", f"--confcutdir={tmp_path}", f"-c{ROOT / 'pyproject.toml'}"]
        plugins = ["-p", "tests.conftest", "-p", "no:cacheprovider"]
        asked = ["-q", "--leak-patience=0.3", *options, str(file)]
        command = [sys.executable, "-m", "pytest", *setup, *plugins, *asked]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
        last = done.stdout.strip().splitlines()[-1].partition(" in ")[0].strip("= ")
        counts = {what: int(count) for count, what in (part.split() for part in last.split(", "))}
        return counts, done.stdout + done.stderr

    return run


def test_a_test_that_leaves_a_process_fails_and_the_process_is_ended(run_tests: RunTests) -> None:
    counts, output = run_tests(
        """
        def test_leaks():
            subprocess.Popen(["sleep", "61"], start_new_session=True)
        def test_does_not():
            pass
        """
    )
    assert counts == {"passed": 2, "error": 1}
    assert "::test_leaks left behind:" in output and "sleep 61" in output
    assert ["sleep", "61"] not in [process.info["cmdline"] for process in psutil.process_iter(["cmdline"])]


def test_a_fixture_may_keep_things_for_its_module(run_tests: RunTests) -> None:
    counts, output = run_tests(
        """
        @pytest.fixture(scope="module")
        def pool():
            with leaks.keeping("the module's pool"):
                workers = []
                yield workers
                for worker in workers:
                    worker.kill()
                    worker.wait()
        def test_starts_a_worker_of_the_pool(pool):
            pool.append(subprocess.Popen(["sleep", "62"]))
        def test_goes_on(pool):
            pool.append(subprocess.Popen(["sleep", "62"]))
        """
    )
    assert counts == {"passed": 2}, output


def test_a_fixture_that_leaves_something_at_its_end_fails(run_tests: RunTests) -> None:
    counts, output = run_tests(
        """
        @pytest.fixture(scope="module")
        def pool():
            with leaks.keeping("the module's pool"):
                yield subprocess.Popen(["sleep", "63"])
        def test_passes(pool):
            pass
        """
    )
    assert counts == {"passed": 1, "error": 1}
    assert "the module's pool left behind:" in output and "sleep 63" in output


def test_a_fixture_that_says_nothing_is_found_at_the_session_s_end(run_tests: RunTests) -> None:
    counts, output = run_tests(
        """
        @pytest.fixture(scope="session")
        def service():
            return subprocess.Popen(["sleep", "64"])
        def test_passes(service):
            pass
        """
    )
    assert counts == {"passed": 1, "error": 1}
    assert "the session left behind:" in output and "sleep 64" in output


def test_parallel_sessions_do_not_see_each_other_s_things(run_tests: RunTests) -> None:
    counts, output = run_tests(
        """
        import tempfile, time
        @pytest.mark.parametrize("n", range(8))
        def test_has_a_process_and_a_directory_for_a_while(n):
            with tempfile.TemporaryDirectory(prefix="parsl-pool-"):
                subprocess.run(["sleep", "0.1"])
        """,
        "-n4",
    )
    assert counts == {"passed": 8}, output


def test_a_test_runs_in_both_arrangements_or_in_the_chosen_one(run_tests: RunTests) -> None:
    source = """
        def test_takes_it(manager_inside):
            print(f"manager_inside={manager_inside}")
        @pytest.mark.parametrize("manager_inside", [None])
        def test_names_it(manager_inside):
            assert manager_inside is None
        """
    counts, _ = run_tests(source)
    assert counts == {"passed": 3}
    counts, output = run_tests(source, "--arrangement=apart", "-s")
    assert counts == {"passed": 2} and "manager_inside=False" in output


def test_the_number_of_kills_is_an_option(run_tests: RunTests) -> None:
    counts, _ = run_tests("def test_rounds(kill_rounds):\n    assert kill_rounds == 7\n", "--kill-rounds=7")
    assert counts == {"passed": 1}
