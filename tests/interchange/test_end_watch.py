"""The end of a process that is not our child, by pidfd and by looking."""

import subprocess
from collections.abc import Iterator
from time import monotonic

import pytest

from parsl_pool import portable
from parsl_pool.interchange.end_watch import EndWatch
from parsl_pool.interchange.loop import Loop

pytestmark = pytest.mark.timeout(60)


@pytest.fixture(params=["pidfd", "looking"])
def loop(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Loop]:
    if request.param == "looking":
        monkeypatch.setattr(portable, "FORCED", True)
    loop = Loop()
    yield loop
    if hasattr(loop._poller, "close"):
        loop._poller.close()


@pytest.fixture
def process() -> Iterator["subprocess.Popen[bytes]"]:
    process = subprocess.Popen(["cat"], stdin=subprocess.PIPE)
    yield process
    process.kill()
    process.communicate()


def test_an_end_is_told_once(loop: Loop, process: "subprocess.Popen[bytes]") -> None:
    told: list[int] = []

    def ended() -> None:
        told.append(process.pid)
        loop.call_at(monotonic() + 0.6, loop.stop)  # time for two looks more

    watch = EndWatch(loop, process.pid, ended)

    def end() -> None:
        process.communicate()

    loop.call_at(monotonic(), end)
    loop.run()
    assert told == [process.pid]
    watch.close()


def test_nothing_is_told_after_it_was_closed(loop: Loop, process: "subprocess.Popen[bytes]") -> None:
    told: list[bool] = []
    watch = EndWatch(loop, process.pid, lambda: told.append(True))
    watch.close()
    watch.close()
    process.communicate()
    loop.call_at(monotonic() + 0.6, loop.stop)
    loop.run()
    assert not told


def test_of_one_that_has_ended_before_it_is_told(process: "subprocess.Popen[bytes]") -> None:
    if not portable.has_proc():
        pytest.skip("it could be in another process namespace")
    process.communicate()
    loop = Loop()
    watch = EndWatch(loop, process.pid, loop.stop)
    loop.run()
    watch.close()
