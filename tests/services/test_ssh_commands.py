import os
import threading
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from parsl_pool.errors import BadPermsScriptPath, BadScriptPath, ConfigurationError, FileCopyException, FileExists
from parsl_pool.providers.channels.base import TIMED_OUT
from parsl_pool.providers.channels.ssh import SSHChannel
from tests.eventually import eventually
from tests.providers.conftest import is_gone
from tests.services.sshd import Sshd

pytestmark = pytest.mark.service


def test_a_command_tells_its_code_and_what_it_has_written(channel_to: Callable[..., SSHChannel]) -> None:
    channel = channel_to(envs={"A": "it's $one"})
    result = channel.execute_wait('echo "$A $B"; echo no >&2; printf "no end"; exit 3', envs={"B": "two"})
    assert result == (3, "it's $one two\nno end", "no\n")


def test_a_command_may_have_many_lines_and_be_long(channel: SSHChannel) -> None:
    text = "x" * 300_000
    result = channel.execute_wait(f"cat <<'END' | wc -c\n{text}\n'\"$(`\nEND\necho \"it's\"")
    assert (result.code, result.stdout.split()) == (0, ["300007", "it's"]), result.stderr


def test_much_output_comes_whole(channel: SSHChannel) -> None:
    result = channel.execute_wait("seq 500000; seq 500000 >&2")
    wanted = "".join(f"{number}\n" for number in range(1, 500_001))
    assert result.code == 0 and result.stdout == wanted and result.stderr == wanted


def test_a_shell_that_does_not_come_to_an_end_tells_its_code(channel: SSHChannel) -> None:
    assert channel.execute_wait("if then").code == 2
    assert channel.execute_wait("kill -9 $$").code == 128 + 9
    assert channel.execute_wait("kill -9 $PPID").code == 255


def test_a_command_reads_nothing_and_is_a_group_of_its_own(channel: SSHChannel) -> None:
    result = channel.execute_wait("cat; ps -o pgid= -p $$")
    assert result.code == 0 and int(result.stdout) != os.getpgrp()


def test_what_takes_too_long_is_ended_with_all_that_it_started(channel: SSHChannel, tmp_path: Path) -> None:
    command = f"trap '' TERM; sleep 100 & echo $! >'{tmp_path}/pid'; echo begun; wait"
    result = channel.execute_wait(command, walltime=1)
    assert (result.code, result.stdout) == (TIMED_OUT, "begun\n")
    pid = int((tmp_path / "pid").read_text())
    assert eventually(lambda: not psutil.pid_exists(pid) or is_gone(psutil.Process(pid)))


def test_what_stays_in_the_background_is_not_waited_for(channel: SSHChannel) -> None:
    result = channel.execute_wait("sleep 20 & echo $!", walltime=15)
    os.kill(int(result.stdout), 15)
    assert result.code == 0


def test_many_threads_use_one_connection(channel: SSHChannel, sshd: Sshd) -> None:
    answers: dict[int, str] = {}

    def ask(number: int) -> None:
        answers[number] = channel.execute_wait(f"echo {number}; sleep 0.1").stdout

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(24)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == {number: f"{number}\n" for number in range(24)}
    assert (sshd.folder / "log").read_text().count("Accepted publickey") == 1


def test_a_server_that_lets_one_session_run_at_a_time(sshd: Sshd, channel_to: Callable[..., SSHChannel]) -> None:
    sshd.stop()
    sshd._more = "MaxSessions 1\n"
    sshd.start()
    channel = channel_to()
    threads = [threading.Thread(target=channel.execute_wait, args=("sleep 0.2",)) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert channel.execute_wait("sleep 100", walltime=0.5).code == TIMED_OUT


def test_files_go_there_and_come_back_whole(channel: SSHChannel, tmp_path: Path) -> None:
    source = tmp_path / "it's a $file"
    source.write_bytes(os.urandom(3_000_000))
    source.chmod(0o750)
    there = tmp_path / "new" / "pl ace"
    pushed = Path(channel.push_file(source, str(there)))
    assert pushed == there / source.name and pushed.read_bytes() == source.read_bytes()
    assert pushed.stat().st_mode & 0o777 == 0o750 and there.stat().st_mode & 0o777 == 0o700
    source.write_text("newer")
    assert Path(channel.push_file(source, str(there))).read_text() == "newer"
    assert [path.name for path in there.iterdir()] == [source.name]
    with pytest.raises(FileExists, match="is there already"):
        channel.pull_file(str(pushed), there)
    (tmp_path / "back").mkdir()
    assert Path(channel.pull_file(str(pushed), tmp_path / "back")).read_text() == "newer"
    assert [path.name for path in (tmp_path / "back").iterdir()] == [source.name]


def test_what_cannot_be_copied_leaves_nothing(channel: SSHChannel, tmp_path: Path) -> None:
    (tmp_path / "place").mkdir()
    with pytest.raises(FileCopyException, match=r"here: cannot copy .*nowhere.*ENOENT"):
        channel.push_file(tmp_path / "nowhere", str(tmp_path / "place"))
    with pytest.raises(FileCopyException, match="nowhere"):
        channel.pull_file(str(tmp_path / "nowhere"), tmp_path / "place")
    assert list((tmp_path / "place").iterdir()) == []
    (tmp_path / "file").write_text("")
    with pytest.raises((BadScriptPath, FileExists)):
        channel.push_file(tmp_path / "file", str(tmp_path / "file" / "x"))


def test_a_copy_that_comes_out_otherwise_is_no_copy(channel: SSHChannel, tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    wrong = tmp_path / "bin" / "sha256sum"
    wrong.write_text(f"#!/bin/sh\necho {'0' * 64} -\n")
    wrong.chmod(0o700)
    channel.envs["PATH"] = f"{tmp_path}/bin:/usr/bin:/bin"
    (tmp_path / "file").write_text("text")
    with pytest.raises(FileCopyException, match="its checksum there is 0000"):
        channel.push_file(tmp_path / "file", str(tmp_path / "there"))
    assert list((tmp_path / "there").iterdir()) == []


def test_directories(channel: SSHChannel, tmp_path: Path) -> None:
    place = str(tmp_path / "a" / "b")
    assert not channel.isdir(place)
    channel.makedirs(place)
    assert channel.isdir(place)
    with pytest.raises(FileExists):
        channel.makedirs(place)
    channel.makedirs(place, exist_ok=True)
    with pytest.raises((BadPermsScriptPath, BadScriptPath)):
        channel.makedirs("/proc/parsl-pool")


def test_paths_begin_in_the_home(channel: SSHChannel) -> None:
    home = channel.execute_wait("cd; pwd -P").stdout.strip()
    assert channel.abspath("~") == channel.abspath(".") == home
    assert channel.abspath("~/x/../y") == channel.abspath("y") == f"{home}/y"
    assert channel.abspath("/x//y") == "/x/y"


def test_names_of_variables_are_checked(channel: SSHChannel) -> None:
    with pytest.raises(ConfigurationError, match="envs must be .*no shell takes a variable 'A B'"):
        channel.execute_wait("true", envs={"A B": "c"})
