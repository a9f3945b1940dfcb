"""What goes wrong in the user's own process while 10,000 tasks are under way: all futures end, and say why."""

import contextlib
import os
import resource
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from parsl_pool.errors import InterchangeLost, PoolBroken
from tests.eventually import eventually
from tests.recovery.arrangement import Arrangement, is_over
from tests.recovery.load import Load

pytestmark = [pytest.mark.kill, pytest.mark.timeout(120)]


def test_a_fault_of_the_thread_that_brings_results_is_everybodys_error(
    arrangement: Arrangement, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*args: Any) -> None:
        raise ZeroDivisionError("in the I/O thread")

    with arrangement.pool(2) as pool:
        load = Load(pool, tmp_path / "ledger")
        processes = arrangement.parts(pool).all()
        load.top_up()
        load.advance(100)
        monkeypatch.setattr(pool._backend.link.outgoing, "send", fail)
        load.finish(within=30)
        assert load.check(PoolBroken) > 0
        assert "ZeroDivisionError: in the I/O thread" in str(load.futures[-1].exception(0))
        with pytest.raises(PoolBroken, match="ZeroDivisionError"):
            pool.submit(abs, 1)
        eventually(lambda: all(map(is_over, processes)), within=30)
    assert "in the I/O thread" in caplog.text


@contextlib.contextmanager
def no_descriptor_left() -> Iterator[None]:
    """This process can open nothing."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    taken = [os.dup(0)]
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(map(int, os.listdir("/proc/self/fd"))) + 1, hard))
    try:
        with contextlib.suppress(OSError):
            while True:
                taken.append(os.dup(0))
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        for fd in taken:
            os.close(fd)


def test_without_a_free_descriptor_small_tasks_go_on_and_large_ones_have_an_end(
    arrangement: Arrangement, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A large result is a descriptor, and one that is lost costs the interchange. Its successor may do."""
    with arrangement.pool(2) as pool:
        load = Load(pool, tmp_path / "ledger")
        load.top_up()
        load.finish()
        with no_descriptor_left():
            load.top_up()
            load.finish()
            large = pool.submit(bytes, 1 << 20)
            error = large.exception(60)
        assert load.check() == 0
        if error is None:
            assert large.result() == bytes(1 << 20)
        else:
            assert isinstance(error, InterchangeLost | PoolBroken)
            assert "too many open files" in str(error).lower()
        assert "too many open files" in caplog.text or not arrangement.inside


def test_an_interchange_that_dies_while_no_descriptor_is_free_is_replaced_or_told(
    arrangement: Arrangement, tmp_path: Path
) -> None:
    """What the dead one had of them may be enough for another."""
    with arrangement.pool(2, lost_retries=0) as pool:
        load = Load(pool, tmp_path / "ledger")
        processes = arrangement.parts(pool).all()
        load.top_up()
        load.advance(100)
        interchange = processes[0].pid
        with no_descriptor_left():
            os.kill(interchange, signal.SIGKILL)
            load.finish()
        load.check((PoolBroken, InterchangeLost))
        if pool._broken:
            assert "too many open files" in str(load.futures[-1].exception(0)).lower()
        else:
            assert pool.submit(bytes, 1 << 20).result(60) == bytes(1 << 20)
    eventually(lambda: all(map(is_over, processes)), within=30)
