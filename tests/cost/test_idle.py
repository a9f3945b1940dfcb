"""A pool that has nothing to do does nothing: no process of it wakes up without a cause."""

import time
from collections.abc import Callable

import pytest

from benchmarks import processes
from parsl_pool import portable
from tests.cost.conftest import Program
from tests.eventually import eventually

pytestmark = pytest.mark.skipif(not portable.has_proc(), reason="processes are looked at in /proc")

WORKERS = 8
QUIET_S = 10.0

# Inside, everybody sleeps. Apart, manager and interchange exchange signs of life every five seconds; each of them,
# and the threads of zmq, wakes up a few times for that.
MOST_SWITCHES = {True: 4, False: 30}

# A tick is 10 ms of CPU time: what is due to one may fall on the border between two, in two processes.
MOST_TICKS = 2


@pytest.mark.slow
def test_eight_idle_workers_use_no_cpu(manager_inside: bool, start_program: Callable[[int], Program]) -> None:
    program = start_program(WORKERS)
    program.sizes("finish")
    # Once more after all is done, as what follows from that: batches end, memory is looked at, the I/O thread naps.
    eventually(lambda: len(program.sizes("idle")) > WORKERS + 2)
    time.sleep(2)
    pids = processes.tree(program.pid)
    before = processes.usage(pids)
    time.sleep(QUIET_S)
    used = processes.usage(pids) - before
    assert processes.tree(program.pid) == pids
    assert used.ticks <= MOST_TICKS
    assert used.switches <= MOST_SWITCHES[manager_inside]
