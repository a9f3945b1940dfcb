"""Workers that are started by hand: a pool without blocks says by which command, and that works."""

import logging
import os
import shlex
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from parsl_pool import Config, HighThroughputExecutor, ParslPoolExecutor
from parsl_pool.errors import ManagerLost, WorkerLost
from parsl_pool.executors.high_throughput.by_hand import ByHand
from parsl_pool.interchange import wire
from parsl_pool.providers import LocalProvider
from tests.eventually import eventually

pytestmark = pytest.mark.timeout(90)


def no_blocks() -> LocalProvider:
    return LocalProvider(init_blocks=0, min_blocks=0, max_blocks=0)


def where() -> str:
    return os.environ["PARSL_WORKER_BLOCK_ID"]


@contextmanager
def started(command: str, folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    """As somebody does it at a shell, somewhere."""
    with subprocess.Popen(["/bin/sh", "-c", f"exec {command}"], cwd=folder, start_new_session=True) as process:
        try:
            yield process
        finally:
            process.kill()


@pytest.mark.parametrize("address", [None, "127.0.0.1"])
def test_the_command_is_printed_and_logged_and_running_it_works(
    address: str | None, tmp_path: Path, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "parsl_pool")
    executor = HighThroughputExecutor(max_workers_per_node=2, provider=no_blocks(), address=address)
    with ParslPoolExecutor(Config([executor])) as pool:
        futures = [pool.submit(where) for _ in range(20)]
        command = eventually(lambda: executor._apart.by_hand.text, within=30).splitlines()[-1]
        assert command == executor.worker_command
        printed = capfd.readouterr().err
        assert printed.count(command) == 1 and "max_blocks=0" in printed
        assert sum(command in record.getMessage() for record in caplog.records) == 1
        assert command in pool.explain() and not any(future.done() for future in futures)
        ticket = shlex.split(command)[-2]
        secret = executor._apart._keys.manager_secret
        assert os.stat(ticket).st_mode & 0o77 == 0 and secret not in command, "no key on a command line"
        with started(command, tmp_path) as process:
            assert {future.result(60) for future in futures} == {wire.BY_HAND}
            assert (executor.connected_workers, executor.connected_blocks()) == (2, [wire.BY_HAND])
            with started(command, tmp_path) as other:  # as many as one likes
                eventually(lambda: executor.connected_workers == 4, within=30)
                other.send_signal(signal.SIGTERM)
                assert other.wait(30) == 0
            eventually(lambda: executor.connected_workers == 2, within=30)
            assert pool.submit(where).result(30) == wire.BY_HAND
            pool.shutdown()
            assert process.wait(30) == 0, "it ends with the pool"
    assert executor.worker_command == ""


def test_workers_can_be_added_by_hand_to_blocks(tmp_path: Path) -> None:
    executor = HighThroughputExecutor(max_workers_per_node=1, provider=LocalProvider(), manager_inside=False)
    with ParslPoolExecutor(Config([executor])) as pool:
        assert pool.submit(where).result(60) == "0"
        assert executor.worker_command not in pool.explain()
        with started(executor.worker_command, tmp_path):
            eventually(lambda: sorted(executor.connected_blocks()) == ["0", wire.BY_HAND], within=30)
            eventually(lambda: pool.submit(where).result(30) == wire.BY_HAND, within=30)


def test_what_waits_behind_a_long_task_goes_to_a_manager_that_comes(tmp_path: Path) -> None:
    """The first one has asked for hundreds, since what it ran before was short."""
    executor = HighThroughputExecutor(max_workers_per_node=1, provider=LocalProvider(), manager_inside=False)
    with ParslPoolExecutor(Config([executor])) as pool:
        assert list(pool.map(abs, range(300))) == list(range(300))
        long = pool.submit(begun, tmp_path / "begun", tmp_path / "go")
        eventually((tmp_path / "begun").exists, within=30)
        others = [pool.submit(where) for _ in range(5)]
        with started(executor.worker_command, tmp_path):
            assert {future.result(60) for future in others} == {wire.BY_HAND}
            (tmp_path / "go").touch()
            assert long.result(30) == "0"


def test_one_that_is_started_by_hand_can_be_killed_and_started_again(tmp_path: Path) -> None:
    executor = HighThroughputExecutor(max_workers_per_node=1, provider=no_blocks())
    with ParslPoolExecutor(Config([executor])) as pool:
        future = pool.submit(where)
        command = eventually(lambda: executor.worker_command, within=30)
        eventually(lambda: os.path.exists(shlex.split(command)[-2]), within=30)
        with started(command, tmp_path):
            assert future.result(60) == wire.BY_HAND
            (pid,) = [each["pid"] for each in executor.connected_managers()]
            psutil.Process(pid).kill()
            eventually(lambda: not executor.connected_managers(), within=30)
        future = pool.submit(where)
        with started(command, tmp_path):
            assert future.result(60) == wire.BY_HAND


def begun(path: Path, go: Path) -> str:
    path.touch()
    eventually(go.exists, within=30)
    return where()


def test_ctrl_c_lets_it_finish_what_runs_and_another_one_does_not(tmp_path: Path) -> None:
    executor = HighThroughputExecutor(max_workers_per_node=1, provider=no_blocks())
    with ParslPoolExecutor(Config([executor], lost_retries=0)) as pool:
        future = pool.submit(begun, tmp_path / "first", tmp_path / "go")
        command = eventually(lambda: executor._apart.by_hand.text, within=30).splitlines()[-1]
        with started(command, tmp_path) as process:
            eventually((tmp_path / "first").exists, within=30)
            os.killpg(process.pid, signal.SIGINT)  # as a terminal does it: all that runs there gets it
            eventually(lambda: executor.connected_managers()[0]["draining"], within=30)
            (tmp_path / "go").touch()
            assert future.result(30) == wire.BY_HAND
            assert process.wait(30) == 0
        assert pool.status().workers_lost == 0
        future = pool.submit(begun, tmp_path / "second", tmp_path / "never")
        with started(command, tmp_path) as process:
            eventually((tmp_path / "second").exists, within=30)
            os.killpg(process.pid, signal.SIGINT)
            eventually(lambda: executor.connected_managers()[0]["draining"], within=30)
            os.killpg(process.pid, signal.SIGINT)
            process.wait(30)
        assert isinstance(future.exception(30), (ManagerLost, WorkerLost))


def test_a_pool_with_its_manager_inside_has_no_such_command() -> None:
    with ParslPoolExecutor(1) as pool:
        assert pool.submit(abs, -1).result(30) == 1
        assert pool._backend.worker_command == ""


def test_it_says_from_where_it_can_be_reached(capsys: pytest.CaptureFixture[str]) -> None:
    here, there, not_wanted = [ByHand("pool", is_wanted=wanted) for wanted in (True, True, False)]
    here.tell("command", ["ipc:///run/x"])
    there.tell("command", ["tcp://10.0.0.1:5"])
    not_wanted.tell("command", ["tcp://10.0.0.1:5"])
    assert "on this machine (with address= on others, too)" in here.text and here.text in capsys.readouterr().err
    assert "on any machine that sees the same files" in there.text and not not_wanted.text
