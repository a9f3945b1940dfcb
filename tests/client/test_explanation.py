"""What `explain()` says is no contradiction, at any moment."""

import logging
import os
import re
import time
from pathlib import Path

import psutil
import pytest

from parsl_pool import ParslPoolExecutor
from parsl_pool.executors.high_throughput import watchdog
from parsl_pool.executors.high_throughput.recovery import WorkerView
from parsl_pool.interchange import shared_memory, wire
from parsl_pool.interchange.page import PAGE_SIZE, SINCE, TASK, Page
from tests.eventually import eventually
from tests.frameworks import work

pytestmark = pytest.mark.timeout(60)


def test_no_task_has_begun_while_no_worker_is_up(manager_inside: bool) -> None:
    """Seen by the claims table, a task begins some milliseconds before the message that its worker is up."""
    for _ in range(5):
        with ParslPoolExecutor(2, manager_inside=manager_inside) as pool:
            future = pool.submit(abs, -1)
            while not future.done():
                text = pool.explain()
                begun = re.search(r"(\d+) of them begun", text)
                assert begun is not None
                assert begun[1] == "0" or "no worker is up" not in text, text


def test_it_names_some_of_what_runs_and_counts_the_rest(manager_inside: bool, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    with ParslPoolExecutor(7, manager_inside=manager_inside) as pool:
        futures = [pool.submit(work.announce_and_wait_for, tmp_path / str(n), gate) for n in range(7)]
        eventually(lambda: all(future.running() for future in futures), within=60)
        lines = pool.explain().splitlines()
        gate.touch()
        assert all(future.result(60) for future in futures)
    named = [line for line in lines if line.startswith("running: task")]
    assert len(named) == 5 and all("announce_and_wait_for" in line for line in named)
    assert "running: 2 more" in lines
    for line in named:  # a manager apart does not show its workers' pages
        assert bool(re.search(r"\), for \d+ s in process \d+ on ", line)) is manager_inside, line


def test_it_says_who_has_run_for_long_and_why_others_wait(tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    with ParslPoolExecutor(1) as pool:
        first = pool.submit(work.announce_and_wait_for, tmp_path / "begun", gate)
        waiting = [pool.submit(abs, -1) for _ in range(3)]
        eventually(first.running)
        (pid,) = pool._processes
        eventually(lambda: f"(announce_and_wait_for), for 1 s in process {pid} on " in pool.explain())
        text = pool.explain()
        gate.touch()
        assert [future.result(20) for future in waiting] == [1, 1, 1]
    assert "no result has come yet" in text
    assert "1 workers are up" in text and "all are busy, so 3 tasks wait" in text


def test_a_worker_that_is_gone_is_not_taken_for_another_file(tmp_path: Path) -> None:
    """Its descriptor's number may be another one's by the time that somebody asks."""
    fd = shared_memory.create(PAGE_SIZE, "page")
    view = WorkerView(wire.WorkerUp("manager", 0, "host", 1), [fd])
    assert view.runs() is None
    page = Page(os.dup(fd))
    page.words[TASK], page.words[SINCE] = 7, time.monotonic_ns()
    task, seconds = view.runs() or (0, -1.0)
    assert task == 7 and 0 <= seconds < 10
    other = os.open(tmp_path / "file", os.O_RDWR | os.O_CREAT)
    os.ftruncate(other, PAGE_SIZE)
    os.dup2(other, fd)
    assert view.runs() is None
    os.close(other)
    view.close()
    assert view.runs() is None
    copy = page.fd
    page.close()
    os.close(copy)


def test_a_pool_without_progress_tells_what_it_waits_for_once(
    manager_inside: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """At level INFO, as all workers are at work: it may be that the tasks are just long."""
    monkeypatch.setattr(watchdog, "PING_S", 0.2)
    caplog.set_level(logging.INFO, "parsl_pool.stall")
    gate = tmp_path / "gate"
    with ParslPoolExecutor(1, manager_inside=manager_inside) as pool:
        assert pool.submit(abs, -1).result(30) == 1
        monkeypatch.setattr(watchdog, "STALL_S", 1.0)
        future = pool.submit(work.announce_and_wait_for, tmp_path / "begun", gate)
        eventually(lambda: stalls(caplog), within=20)
        heard = len(stalls(caplog))
        eventually(lambda: pool.status().running == 1)
        gate.touch()
        assert future.result(20) > 0
    (record,) = stalls(caplog)
    assert heard == 1 and record.levelno == logging.INFO
    assert re.match(r"no result for \d+ s\.\n", record.getMessage())
    assert "running: task" in record.getMessage()


def test_a_pool_whose_interchange_is_silent_says_so(
    manager_inside: bool, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """As a WARNING, for nobody works."""
    monkeypatch.setattr(watchdog, "PING_S", 0.2)
    caplog.set_level(logging.INFO, "parsl_pool.stall")
    with ParslPoolExecutor(1, manager_inside=manager_inside) as pool:
        assert pool.submit(abs, -1).result(30) == 1
        monkeypatch.setattr(watchdog, "STALL_S", 2.0)
        process = psutil.Process(pool._backend.link._process.pid)
        process.suspend()
        try:
            future = pool.submit(abs, -2)
            eventually(lambda: stalls(caplog), within=20)
            eventually(lambda: "the interchange has not been heard for" in pool.explain())
        finally:
            process.resume()
        assert future.result(30) == 2
    assert stalls(caplog)[0].levelno == logging.WARNING
    assert "the interchange has not been heard for" in stalls(caplog)[0].getMessage()


def test_a_pool_that_was_idle_is_not_taken_for_one_that_waits(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    """What counts is for how long tasks have waited, not how old the last result is."""
    monkeypatch.setattr(watchdog, "PING_S", 0.1)
    caplog.set_level(logging.INFO, "parsl_pool.stall")
    gate = tmp_path / "gate"
    with ParslPoolExecutor(1) as pool:
        assert pool.submit(abs, -1).result(30) == 1
        pool._backend.link.tries.last_result -= 1000
        pool._backend.link.opened_at -= 1000
        pool._backend.link.watchdog._looked_at -= 1000
        future = pool.submit(work.announce_and_wait_for, tmp_path / "begun", gate)
        dog = pool._backend.link.watchdog
        later = time.monotonic() + 1  # ten times the time after which it looks
        eventually(lambda: dog._looked_at > later, within=20)
        gate.touch()
        assert future.result(20) > 0
    assert not stalls(caplog)


def stalls(caplog: pytest.LogCaptureFixture) -> list[logging.LogRecord]:
    return [record for record in caplog.records if record.name == "parsl_pool.stall"]


def test_it_tells_of_managers_that_take_no_more_tasks() -> None:
    with ParslPoolExecutor(1, manager_inside=False) as pool:
        assert pool.submit(abs, -1).result(60) == 1
        executor = pool._backend
        (manager,) = executor.connected_managers()
        assert "1 managers have registered, of blocks 0" in pool.explain()
        assert "hold_worker" not in pool.explain()
        executor.hold_worker(manager["manager"])
        text = pool.explain()
        assert f"manager {manager['manager']} on {manager['hostname']}, of block 0, gets no more tasks" in text
        assert text.splitlines()[-1] == "so nobody takes tasks"
        executor.workers.other(wire.Draining(manager["manager"], "its time is over"))
        assert "of block 0, ends when it has finished: its time is over" in pool.explain()
        executor.workers.refused.append("manager m, of block 1: it runs Python 3.4")
        assert "refused: manager m, of block 1: it runs Python 3.4" in pool.explain()
