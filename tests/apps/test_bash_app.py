"""`@bash_app`."""

import os
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

from parsl_pool import AUTO_LOGNAME, File, ParslPoolExecutor, bash_app
from parsl_pool.errors import (
    AppBadFormatting,
    AppTimeout,
    BadStdStreamFile,
    BashAppNoReturn,
    BashExitFailure,
    MissingOutputs,
)
from tests.eventually import eventually

pytestmark = pytest.mark.timeout(60)


@bash_app
def say(text: Any, stdout: Any = None, stderr: Any = None, label: str | None = None) -> str:
    return f"echo {text}; echo oh >&2"


@bash_app
def run(command: Any) -> Any:
    return command


@bash_app
def fails_to_say() -> str:
    return "{missing}".format_map({})


@bash_app
def concatenate(inputs: Any = (), outputs: Any = ()) -> str:
    return f"cat {' '.join(map(str, inputs))} > {outputs[0]}"


@bash_app
def sleep_in_the_background(path: str, walltime: float = 0.7) -> str:
    return f"sleep 300 & echo $! > {path}; (sleep 300; true) & sleep 300"


def test_its_output_goes_where_it_is_told(pool: ParslPoolExecutor, tmp_path: Path) -> None:
    out, err = tmp_path / "new" / "folder" / "out", tmp_path / "err"
    future = say("hello", stdout=str(out), stderr=err)
    assert (future.stdout, future.stderr) == (str(out), str(err))
    assert future.result() == 0
    assert (out.read_text(), err.read_text()) == ("hello\n", "oh\n")
    assert say("again", stdout=(str(out), "w")).result() == 0
    assert out.read_text() == "again\n"
    assert say("more", stdout=(str(out), "a")).result() == 0
    assert out.read_text() == "again\nmore\n"


def test_a_file_may_be_told_by_position(pool: ParslPoolExecutor, tmp_path: Path) -> None:
    future = say("hello", tmp_path / "out", AUTO_LOGNAME, "first")
    assert future.result() == 0 and future.stdout == str(tmp_path / "out")
    assert (tmp_path / "out").read_text() == "hello\n"
    assert Path(str(future.stderr)).read_text() == "oh\n"
    assert os.path.basename(str(future.stderr)) == f"task_{future.tid:04}_say_first.stderr"


def test_automatic_names(pool: ParslPoolExecutor) -> None:
    future = say("hello", stdout=AUTO_LOGNAME, stderr=AUTO_LOGNAME, label="first")
    assert isinstance(future.stdout, str) and isinstance(future.stderr, str)
    assert os.path.basename(future.stdout) == f"task_{future.tid:04}_say_first.stdout"
    assert os.path.basename(os.path.dirname(os.path.dirname(future.stdout))) == "task_logs"
    assert future.result() == 0
    assert Path(future.stdout).read_text() == "hello\n"
    assert say("hello").stdout is None


def test_one_file_for_both(pool: ParslPoolExecutor, tmp_path: Path) -> None:
    assert say("hello", stdout=str(tmp_path / "both"), stderr=str(tmp_path / "both")).result() == 0
    assert (tmp_path / "both").read_text() == "hello\noh\n"


def test_the_exit_code_decides(pool: ParslPoolExecutor, tmp_path: Path) -> None:
    assert run("true").result() == 0
    error = run("exit 3").exception()
    assert isinstance(error, BashExitFailure)
    assert (error.app_name, error.exitcode) == ("run", 3)
    assert str(error) == "the command of bash app run ended with exit code 3"
    killed = run("kill -9 $$").exception()
    assert isinstance(killed, BashExitFailure) and killed.exitcode == -9 and "signal 9" in str(killed)


def test_a_failure_tells_the_last_words(pool: ParslPoolExecutor, tmp_path: Path) -> None:
    @bash_app
    def moan(stderr: Any = None) -> str:
        return "echo no such planet >&2; exit 2"

    error = moan(stderr=str(tmp_path / "err")).exception()
    assert "exit code 2\nits last words:\nno such planet" in str(error)


def test_wrong_command_lines(pool: ParslPoolExecutor) -> None:
    nothing = run(None).exception()
    assert isinstance(nothing, BashAppNoReturn)
    assert str(nothing) == "bash app run must return its command line as a text, and returned None"
    bad = fails_to_say().exception()
    assert isinstance(bad, AppBadFormatting)
    assert str(bad) == "bash app fails_to_say failed to make up its command line: KeyError: 'missing'"
    # The text is what the function returned: nothing is put in the place of braces.
    assert run("echo {x} | grep -q '{x}'").result() == 0


@pytest.mark.parametrize("bad", [5, True, (), ("a",), ("a", 5), ("a", "w", "x"), "", "a\0b", {"a"}])
def test_wrong_streams_are_refused_at_the_call(pool: ParslPoolExecutor, bad: Any) -> None:
    with pytest.raises(BadStdStreamFile, match="stdout"):
        say("x", stdout=bad)


def test_a_stream_that_cannot_be_opened(pool: ParslPoolExecutor, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for stdout in (str(tmp_path), str(tmp_path / "file" / "below"), (str(tmp_path / "x"), "no mode")):
        error = say("x", stdout=stdout).exception()
        assert isinstance(error, BadStdStreamFile) and str(tmp_path) in str(error)


def test_files_in_and_out(pool: ParslPoolExecutor, tmp_path: Path) -> None:
    for name in "ab":
        (tmp_path / name).write_text(name)
    first = concatenate(inputs=[File(tmp_path / "a"), File(tmp_path / "b")], outputs=[File(tmp_path / "ab")])
    both = concatenate(inputs=[first.outputs[0], File(tmp_path / "a")], outputs=[tmp_path / "aba"])
    assert both.result() == 0
    assert (tmp_path / "aba").read_text() == "aba"
    never = run("true", outputs=[File(tmp_path / "never")]).exception()
    assert isinstance(never, MissingOutputs)


def test_a_walltime_ends_the_command_and_all_that_it_started(
    pool: ParslPoolExecutor, kind: str, tmp_path: Path
) -> None:
    if kind == "threads":
        pytest.skip("see tests/executors/test_walltimes.py")
    path = tmp_path / "pid"
    begun = time.monotonic()
    error = sleep_in_the_background(str(path)).exception()
    assert isinstance(error, AppTimeout) and "(sleep_in_the_background) ran longer" in str(error)
    assert time.monotonic() - begun < 20
    eventually(lambda: not psutil.pid_exists(int(path.read_text())), within=10)


def test_a_killed_command_leaves_no_child(pool: ParslPoolExecutor, kind: str, tmp_path: Path) -> None:
    if kind == "threads":
        pytest.skip("a thread cannot be stopped")
    path = tmp_path / "pid"
    future = sleep_in_the_background(str(path), walltime=100)
    pid = int(eventually(lambda: path.exists() and path.read_text().strip(), within=20))
    assert future.kill()
    eventually(lambda: not psutil.pid_exists(pid), within=10)
    eventually(future.cancelled, within=10)


def test_a_future_in_the_command(pool: ParslPoolExecutor, tmp_path: Path) -> None:
    text = pool.submit(str.upper, "loud")
    assert say(text, stdout=str(tmp_path / "out")).result() == 0
    assert (tmp_path / "out").read_text() == "LOUD\n"
