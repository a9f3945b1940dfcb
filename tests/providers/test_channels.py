import os
from pathlib import Path

import psutil
import pytest

from parsl_pool.errors import BadPermsScriptPath, BadScriptPath, ChannelError, FileCopyException, FileExists
from parsl_pool.providers import LocalChannel
from parsl_pool.providers.channels.base import TIMED_OUT
from tests.eventually import eventually
from tests.providers.conftest import is_gone


def test_a_command_tells_its_code_and_what_it_has_written(tmp_path: Path) -> None:
    channel = LocalChannel(tmp_path, envs={"A": "one"})
    result = channel.execute_wait('echo "$A $B $PWD"; echo no >&2; exit 3', envs={"B": "two"})
    assert result == (3, f"one two {tmp_path}\n", "no\n")


def test_a_command_reads_nothing_of_ours_and_is_a_group_of_its_own() -> None:
    result = LocalChannel().execute_wait("cat; ps -o pgid= -p $$; echo $$")
    group, pid = result.stdout.split()
    assert group == pid != str(os.getpgrp())


def test_what_takes_too_long_is_ended_with_all_that_it_started(tmp_path: Path) -> None:
    command = f"sleep 100 & echo $! >'{tmp_path}/pid'; echo begun; wait"
    result = LocalChannel().execute_wait(command, walltime=1)
    assert (result.code, result.stdout) == (TIMED_OUT, "begun\n")
    pid = int((tmp_path / "pid").read_text())
    assert eventually(lambda: not psutil.pid_exists(pid) or is_gone(psutil.Process(pid)))


def test_what_stays_in_the_background_is_not_waited_for() -> None:
    result = LocalChannel().execute_wait("sleep 20 & echo $!", walltime=15)
    os.kill(int(result.stdout), 15)
    assert result.code == 0


def test_files_are_copied_only_to_other_directories(tmp_path: Path) -> None:
    channel, source = LocalChannel(), tmp_path / "file"
    source.write_text("text")
    source.chmod(0o750)
    assert channel.push_file(source, str(tmp_path)) == str(source)
    pushed = Path(channel.push_file(source, str(tmp_path / "new" / "place")))
    assert pushed.read_text() == "text" and pushed.stat().st_mode & 0o777 == 0o750
    assert sorted(path.name for path in pushed.parent.iterdir()) == ["file"]
    with pytest.raises(FileExists, match="is there already"):
        channel.pull_file(str(pushed), tmp_path)


def test_what_cannot_be_copied_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(FileCopyException, match=r"this machine: cannot copy .*nowhere.*\(ENOENT\)"):
        LocalChannel().push_file(tmp_path / "nowhere", str(tmp_path / "there"))
    assert list((tmp_path / "there").iterdir()) == []
    (tmp_path / "file").write_text("")
    with pytest.raises(BadScriptPath, match="cannot make the directory"):
        LocalChannel().makedirs(str(tmp_path / "file" / "x"))
    with pytest.raises(FileExists):
        LocalChannel().makedirs(str(tmp_path))
    LocalChannel().makedirs(str(tmp_path), exist_ok=True)


def test_what_may_not_be_written_to_is_an_error_of_its_own() -> None:
    with pytest.raises((BadPermsScriptPath, BadScriptPath)) as raised:  # the second one: root may, the system can't
        LocalChannel().makedirs("/proc/parsl-pool")
    assert raised.value.hostname == "this machine" and "/proc/parsl-pool" in raised.value.e


def test_a_command_that_cannot_be_started(tmp_path: Path) -> None:
    with pytest.raises(ChannelError, match=r"cannot run 'true' .*ENOENT"):
        LocalChannel(tmp_path / "nowhere").execute_wait("true")


def test_this_machine_is_reached_from_this_machine_by_the_same_port() -> None:
    assert LocalChannel().open_reverse(5000) == 5000
