"""The broker's price of a task, in lines of code run: the same for one manager or a thousand, whatever waits."""

import sys
from types import FrameType
from typing import Any

import pytest

from benchmarks.lines.broker import FRAME, WINDOW, Cluster
from parsl_pool.interchange import broker, columns

COUNTED = {broker.__file__, columns.__file__}
TASKS = 20 * FRAME


class Lines:
    """Counts the lines that run in the broker and in its frames, and the calls into C from there."""

    def __init__(self) -> None:
        self.count = 0

    def __enter__(self) -> "Lines":
        sys.setprofile(self._profile)
        sys.settrace(self._trace)
        return self

    def __exit__(self, *_: object) -> None:
        sys.settrace(None)
        sys.setprofile(None)

    def _profile(self, frame: FrameType, event: str, argument: Any) -> None:
        if event == "c_call" and frame.f_code.co_filename in COUNTED:
            self.count += 1

    def _trace(self, frame: FrameType, event: str, argument: Any) -> Any:
        return self._line if frame.f_code.co_filename in COUNTED else None

    def _line(self, frame: FrameType, event: str, argument: Any) -> Any:
        self.count += event == "line"
        return self._line


def lines_a_task(managers: int, waiting: int) -> float:
    cluster = Cluster(managers)
    cluster.submit(managers * WINDOW + waiting)
    cluster.work(4 * FRAME)
    done = cluster.done
    with Lines() as lines:
        cluster.work(TASKS)
    assert cluster.done - done >= TASKS
    return lines.count / (cluster.done - done)


@pytest.mark.parametrize(
    ("managers", "waiting"), [(1, 0), (1000, 0), (1, 1_000_000), (30, 30_000), (1000, 1_000_000)]
)
def test_it_grows_neither_with_managers_nor_with_what_waits(managers: int, waiting: int) -> None:
    """With nothing waiting, frames are passed on whole; so the comparison is with a few that wait."""
    assert lines_a_task(managers, waiting) < 1.2 * lines_a_task(1, 1000)


def test_a_task_costs_little() -> None:
    """What is done is done for a frame, not for each task in it."""
    assert lines_a_task(10, 10_000) < 10
