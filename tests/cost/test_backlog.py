"""Many tasks at once: what each costs while it waits, and that the memory comes back when all are done."""

import pytest

from parsl_pool import portable
from tests.cost.conftest import Program
from tests.eventually import eventually

pytestmark = pytest.mark.skipif(not portable.has_proc(), reason="processes are looked at in /proc")

MEGABYTE = 1 << 20

# An interchange keeps frames as they came: 16 bytes of columns, and the arguments. With what the allocator rounds up.
MOST_BYTES_A_TASK = {"client": 400, "interchange": 100}


def most_grown(before: dict[int, int], now: dict[int, int]) -> int:
    """By how many bytes the process has grown that grew most; workers replaced meanwhile have begun small."""
    return max(size - before.get(pid, min(before.values())) for pid, size in now.items())


def test_a_waiting_task_takes_some_hundred_bytes_and_gives_them_back(program: Program) -> None:
    count = 200_000
    before = program.sizes("idle")
    waiting = program.sizes(f"queue {count}")
    grown = sorted(size - before.get(pid, 0) for pid, size in waiting.items())
    assert grown[-1] / count < MOST_BYTES_A_TASK["client"], "the client"
    assert grown[-2] / count < MOST_BYTES_A_TASK["interchange"], "the interchange"
    program.sizes("finish")
    # A dict of all tries alone would keep a fifth, the C library's free pages as much again.
    eventually(lambda: most_grown(before, program.sizes("idle")) < grown[-1] / 3, within=20)


@pytest.mark.slow
@pytest.mark.timeout(300)  # on a machine that others use too
def test_a_million_tasks_queued_at_once_are_done_and_leave_nothing_behind(program: Program) -> None:
    before = program.sizes("idle")
    waiting = program.sizes("queue 1000000")
    assert most_grown(before, waiting) > 100 * MEGABYTE
    program.sizes("finish")
    eventually(lambda: most_grown(before, program.sizes("idle")) < 50 * MEGABYTE, within=20)
