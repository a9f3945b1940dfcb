import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from parsl_pool import portable
from parsl_pool.providers import process_group
from parsl_pool.providers.process_group import Ending, ProcessGroup, terminate_all
from tests.eventually import eventually
from tests.providers.conftest import SHELLS

Start = Callable[[str], ProcessGroup]


@pytest.fixture(params=SHELLS)
def start(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Start]:
    """Starts scripts, each kind of shell being guard as well."""
    monkeypatch.setattr(process_group, "GUARD_SHELL", request.param)
    groups: list[ProcessGroup] = []

    def start(text: str) -> ProcessGroup:
        script = tmp_path / f"{len(groups)}.sh"
        script.write_text(text)
        groups.append(
            ProcessGroup(request.param, script, script.with_suffix(".out"), script.with_suffix(".err"))
        )
        return groups[-1]

    monkeypatch.setattr(process_group, "_BEGINNING_S", 0)  # these scripts are short
    yield start
    terminate_all(groups, grace_s=0, timeout_s=10)


def members(group: ProcessGroup) -> list[psutil.Process]:
    """The group's processes, but for those that have ended."""
    found = []
    for process in psutil.process_iter(["status"]):
        try:
            if os.getpgid(process.pid) == group.pid and process.info["status"] != psutil.STATUS_ZOMBIE:
                found.append(process)
        except ProcessLookupError:
            continue
    return found


def ending(group: ProcessGroup) -> Ending | None:
    return eventually(group.poll)


# ---- how a script ends


@pytest.mark.parametrize(
    "text, exit_code, signal_number, words",
    [
        ("", 0, None, "exit code 0"),
        ("exit 3", 3, None, "exit code 3"),
        ("exit 255", 255, None, "exit code 255"),
        ("exec /nowhere/program", 127, None, "exit code 127: a command was not found"),
        ("exec /etc/passwd", 126, None, "exit code 126: a command could not be run"),
        ("kill -SEGV $$", 139, 11, "killed by SIGSEGV (exit code 139)"),
        ("sh -c 'kill -KILL $$'", 137, 9, "killed by SIGKILL (exit code 137)"),
        ("exec sh -c 'kill -INT $$; exit 4'", 130, 2, "killed by SIGINT (exit code 130)"),
    ],
)
def test_the_ending_tells_the_exit_code_and_the_signal(
    start: Start, text: str, exit_code: int, signal_number: int | None, words: str
) -> None:
    end = ending(start(text))
    assert end == Ending(exit_code, signal_number)
    assert str(end) == words


def test_a_running_group_has_no_ending(start: Start) -> None:
    group = start("sleep 1000")
    assert group.poll() is None
    assert not group.wait(time.monotonic() + 0.05)
    eventually(lambda: len(members(group)) == 4)  # guard, watcher, the script's shell, sleep


def test_the_script_reads_nothing_from_us(start: Start) -> None:
    assert ending(start("cat; test ! -e /proc/self/fd/3")) == Ending(0, None)


def test_what_a_script_leaves_in_the_background_ends_with_it(start: Start) -> None:
    group = start("sleep 1000 & sleep 1000 & exit 5")
    # Nobody polls: the guard does it alone.
    eventually(lambda: not members(group))
    assert group.poll() == Ending(5, None)


def test_output_goes_to_private_files(start: Start, tmp_path: Path) -> None:
    assert ending(start("echo out; echo err >&2")) == Ending(0, None)
    assert (tmp_path / "0.out").read_text() == "out\n" and (tmp_path / "0.err").read_text() == "err\n"
    assert {path.stat().st_mode & 0o777 for path in (tmp_path / "0.out", tmp_path / "0.err")} == {0o600}


# ---- ended by others


def test_if_the_guard_is_killed_all_of_the_group_ends(start: Start) -> None:
    group = start("sleep 1000")
    eventually(lambda: len(members(group)) == 4)
    os.kill(group.pid, signal.SIGKILL)
    assert ending(group) == Ending(None, 9)
    eventually(lambda: not members(group))
    assert str(group.poll()) == "its shell was killed by SIGKILL"


@pytest.mark.skipif(not portable.has(os, "waitid"), reason="nobody is left who could end them, and know whom")
def test_if_guard_and_watcher_are_killed_all_of_the_group_ends(start: Start) -> None:
    group = start("sleep 1000")
    eventually(lambda: len(members(group)) == 4)
    own = [process for process in members(group) if "parsl_pool.providers.block" in process.cmdline()]
    assert len(own) == 2
    for process in own:
        process.kill()
    assert ending(group) == Ending(None, 9)
    eventually(lambda: not members(group))


def test_without_waitid_the_watcher_does_it(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "waitid")  # macOS, before Python 3.13
    assert ending(start("exit 3")) == Ending(3, None)
    group = start("sleep 1000")
    eventually(lambda: len(members(group)) == 4)
    os.kill(group.pid, signal.SIGKILL)
    assert ending(group) == Ending(None, 9)
    eventually(lambda: not members(group))


def test_an_exit_status_taken_by_someone_else_is_known_all_the_same(start: Start) -> None:
    group = start("exit 7")
    os.waitpid(group.pid, 0)  # as a program does that waits for any child
    assert ending(group) == Ending(7, None)


def test_an_ending_that_nobody_can_know_is_no_success(start: Start) -> None:
    group = start("sleep 1000")
    os.killpg(group.pid, signal.SIGKILL)
    os.waitpid(group.pid, 0)
    assert ending(group) == Ending(None, None)
    assert "taken by another wait()" in str(group.poll())


# ---- ended by us


def test_what_heeds_sigterm_ends_in_its_own_time(start: Start, tmp_path: Path) -> None:
    wait = f": >{tmp_path}/ready; while :; do sleep 0.01; done"
    group = start(
        "trap 'exit 143' TERM\n"
        f"sh -c 'trap \"sleep 0.3; echo tidied; exit 0\" TERM; {wait}'\n"
        "echo must not be reached\n"
    )
    eventually((tmp_path / "ready").exists)
    terminate_all([group], grace_s=10, timeout_s=20)
    assert group.poll() == Ending(143, 15)
    assert (tmp_path / "0.out").read_text() == "tidied\n"


def test_what_does_not_heed_sigterm_is_killed(start: Start) -> None:
    group = start("trap '' TERM; sleep 1000; sleep 1000")
    eventually(lambda: len(members(group)) == 4)
    begin = time.monotonic()
    terminate_all([group], grace_s=0.2, timeout_s=10)
    assert 0.2 <= time.monotonic() - begin < 5
    assert group.poll() == Ending(None, 9)
    eventually(lambda: not members(group))


def test_between_sigterm_and_sigkill_the_group_is_still_watched(start: Start) -> None:
    group = start("trap '' TERM; sleep 1000; sleep 1000")
    eventually(lambda: len(members(group)) == 4)
    group.send_signal(signal.SIGTERM)
    group._lifeline.close()  # as the end of this process would
    eventually(lambda: not members(group))


def test_a_stopped_group_is_killed(start: Start) -> None:
    group = start("sleep 1000")
    eventually(lambda: len(members(group)) == 4)
    group.send_signal(signal.SIGSTOP)
    terminate_all([group], grace_s=0.1, timeout_s=10)
    assert group.poll() == Ending(None, 9)


def test_many_groups_share_one_grace(start: Start) -> None:
    groups = [start("trap '' TERM; sleep 1000; sleep 1000") for _ in range(10)]
    begin = time.monotonic()
    terminate_all(groups, grace_s=0.3, timeout_s=10)
    assert time.monotonic() - begin < 3
    assert all(group.poll() for group in groups)


def test_a_signal_to_what_has_ended_hits_nobody(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    group = start("exit 0")
    ending(group)
    monkeypatch.delattr(os, "killpg")  # its number may be someone else's by now
    group.send_signal(signal.SIGKILL)


def test_letting_go_of_a_group_ends_it(tmp_path: Path) -> None:
    script = tmp_path / "script"
    script.write_text("sleep 1000")
    group = ProcessGroup("/bin/sh", script, tmp_path / "out", tmp_path / "err")
    processes = members(group)
    with pytest.warns(ResourceWarning):  # by subprocess and socket
        del group
        psutil.wait_procs(processes, timeout=10)
    assert not [process for process in processes if process.is_running()]


# ---- could not be started


@pytest.mark.parametrize("obstacle", ["stdout", "stderr", "guard"])
def test_a_failed_start_leaves_no_process_and_no_descriptor(
    obstacle: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if obstacle == "guard":
        monkeypatch.setattr(process_group, "GUARD_SHELL", "/nowhere/sh")
    missing = tmp_path / "missing" / "file"
    with pytest.raises(FileNotFoundError):
        ProcessGroup(
            "/bin/sh",
            tmp_path / "script",
            missing if obstacle == "stdout" else tmp_path / "out",
            missing if obstacle == "stderr" else tmp_path / "err",
        )


# ---- forks of this process


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_fork_of_this_process_can_do_nothing_to_a_group(start: Start) -> None:
    group = start("sleep 1000")
    child = os.fork()
    if child == 0:
        try:
            group.send_signal(signal.SIGKILL)
            harmless = group.is_inherited and group.poll() is None
        finally:
            os._exit(0 if harmless else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert not group.is_inherited
    assert group.poll() is None


def test_the_guard_is_as_small_as_a_shell(start: Start) -> None:
    group = start("sleep 1000")
    own = [process for process in members(group) if "parsl_pool.providers.block" in process.cmdline()]
    assert own and all(process.memory_info().rss < 8e6 for process in own)
    assert all(process.cpu_times().user < 0.1 for process in own)


def test_a_shell_that_is_not_there_is_an_exit_code(start: Start, tmp_path: Path) -> None:
    group = ProcessGroup("/nowhere/sh", tmp_path / "script", tmp_path / "out", tmp_path / "err")
    assert ending(group) == Ending(127, None)
    assert "/nowhere/sh" in (tmp_path / "err").read_text()


def test_the_kernel_agrees_that_it_is_a_session_of_its_own(start: Start) -> None:
    group = start("exec sleep 1000")
    assert os.getsid(group.pid) == os.getpgid(group.pid) == group.pid != os.getsid(0)
    run = subprocess.run(["ps", "-o", "tty=", "-p", str(group.pid)], capture_output=True, text=True)
    assert run.stdout.strip() in ("?", "??")
