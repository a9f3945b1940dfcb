"""Nobody has to guess: what is known of a dead worker is in the error, and who waits is told what for."""

import ctypes
import logging
import os
import signal
import sys
import threading
import time
from pathlib import Path

import pytest

from parsl_pool.errors import WorkerLost
from parsl_pool.executors.high_throughput import link, watchdog
from tests.eventually import eventually
from tests.recovery.arrangement import Arrangement
from tests.recovery.ledger import note, noted

pytestmark = [pytest.mark.kill, pytest.mark.timeout(90)]


def speak_and_die(number: int) -> None:
    print("the matrix is singular", file=sys.stderr, flush=True)
    os.kill(os.getpid(), number)


def crash_in_c() -> None:
    ctypes.string_at(0)


def run_until(path: Path, ledger: Path) -> None:
    note(ledger, 1)
    while not path.exists():
        time.sleep(0.01)


def test_a_dead_worker_gets_a_post_mortem(arrangement: Arrangement) -> None:
    with arrangement.pool(1) as pool:
        error = pool.options(label="fit 7").submit(speak_and_die, signal.SIGKILL).exception(30)
    assert isinstance(error, WorkerLost)
    text = str(error)
    assert "SIGKILL" in text
    assert "the matrix is singular" in text
    assert "fit 7" in text, "which task it was"
    assert error.hostname in text
    assert "MiB" in text, "its memory"
    assert "the pool goes on" in text.lower()


def test_a_crash_shows_where_the_worker_was(arrangement: Arrangement) -> None:
    with arrangement.pool(1) as pool:
        error = pool.submit(crash_in_c).exception(30)
    assert isinstance(error, WorkerLost)
    assert "SIGSEGV" in str(error)
    assert "crash_in_c" in str(error), "by faulthandler"


def test_a_pool_without_progress_says_so_once(
    arrangement: Arrangement, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(watchdog, "PING_S", 0.1)
    caplog.set_level(logging.INFO, "parsl_pool.stall")

    def told() -> list[str]:
        return [record.getMessage() for record in caplog.records if record.name == "parsl_pool.stall"]

    with arrangement.pool(1) as pool:
        held = pool.options(label="the slow one").submit(run_until, tmp_path / "go", tmp_path / "ledger")
        eventually(lambda: noted(tmp_path / "ledger"))
        waiting = [pool.submit(abs, -n) for n in range(20)]
        assert not told()
        monkeypatch.setattr(watchdog, "STALL_S", 0.5)
        (text,) = eventually(told, within=30)
        time.sleep(1)  # for a second one, which must not come
        assert told() == [text]
        (tmp_path / "go").touch()
        held.result(30)
        assert [each.result(30) for each in waiting] == list(range(20))
    assert "the slow one" in text
    assert "21 tasks" in text


def test_a_shutdown_that_waits_says_what_for(
    arrangement: Arrangement, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(link, "_TELL_S", 0.2)
    caplog.set_level(logging.INFO, "parsl_pool.interchange")
    with arrangement.pool(1) as pool:
        pool.options(label="the slow one").submit(run_until, tmp_path / "go", tmp_path / "ledger")
        eventually(lambda: noted(tmp_path / "ledger"))
        thread = threading.Thread(target=pool.shutdown)
        thread.start()
        eventually(lambda: caplog.text.count("the shutdown of pool") >= 2)
        (tmp_path / "go").touch()
        thread.join(30)
        assert not thread.is_alive()
    assert "running: task" in caplog.text
    assert "the slow one" in caplog.text


def test_workers_that_are_replaced_on_purpose_are_no_news(
    arrangement: Arrangement, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.WARNING)
    with arrangement.pool(2, max_tasks_per_child=2) as pool:
        assert len(set(pool.map(worker, range(20)))) >= 10
        assert pool.status().workers_lost == 0
    assert not caplog.records
    assert capfd.readouterr().err == ""


def worker(_: int) -> int:
    return os.getpid()
