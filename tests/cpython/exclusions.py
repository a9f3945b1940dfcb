"""The tests of CPython's suite that ParslPoolExecutor does not pass, on purpose.

They are run all the same: one that passes, or that a version which should have it lacks, fails our own suite.
A test belongs here only if what it asks for is not wanted, or is no business of a user. Bugs don't.
"""

import sys
from collections.abc import Iterable
from dataclasses import dataclass

from tests.cpython.pools import OURS
from tests.cpython.suite import ALONE, CONTEXTS, NEEDS_CONTEXT, class_name

GOES_ON = "overruled by design: one dead worker fails its own task, and the pool goes on"
PRIVATE = "reads private attributes of CPython's executor: _executor_manager_thread"
UNSENT = (
    "counts the private _processes after calls that can't be pickled (they carry a Semaphore);"
    " ours starts workers for calls that it can send"
)
BLOCK_OUTPUT = "looks at what a task prints: a block's output goes to its files, as on a cluster"
ON_DEMAND = ("Forkserver", "Spawn", "Default")  # start methods whose workers are not all started at once
OWN_REPR = "asks for the name Future in the repr; ours says AppFuture, and which task"


@dataclass(frozen=True)
class Exclusion:
    """One test of one mixin (or class), on some contexts and Python versions."""

    mixin: str
    test: str
    reason: str
    contexts: tuple[str, ...] = CONTEXTS
    pools: tuple[str, ...] = OURS
    since: tuple[int, int] = (3, 10)
    may_lack: tuple[int, int] | None = None  # the version of which only later releases have the test
    limit_s: float = 20.0  # it may hang: then it has failed as expected, after this long

    def names(self) -> Iterable[tuple[str, str]]:
        """(class, test) for each context."""
        if self.mixin in ALONE:
            yield self.mixin, self.test
            return
        for context in self.contexts:
            if not (context == "Default" and self.mixin in NEEDS_CONTEXT):
                yield class_name(context, self.mixin), self.test


EXCLUSIONS = (
    Exclusion("ProcessPoolExecutorTest", "test_killed_child", f"{GOES_ON}: submit does not raise afterwards"),
    Exclusion("ProcessPoolShutdownTest", "test_del_shutdown", f"{PRIVATE} and _call_queue"),
    Exclusion("ProcessPoolShutdownTest", "test_shutdown_no_wait", f"{PRIVATE} and _call_queue"),
    Exclusion("ExecutorDeadlockTest", "test_shutdown_deadlock_pickle", PRIVATE),
    Exclusion(
        "FailingInitializerMixin",
        "test_initializer",
        "passes a queue of the fork context: its locks reach only children forked from the user's process,"
        " and ours are forked from a clean one",
        contexts=("Fork",),
    ),
    Exclusion("ProcessPoolExecutorTest", "test_saturation", UNSENT, contexts=ON_DEMAND),
    Exclusion("ProcessPoolShutdownTest", "test_processes_terminate", UNSENT, contexts=ON_DEMAND),
    Exclusion(
        "ProcessPoolExecutorTest",
        "test_python_finalization_error",
        "lets a private second thread of CPython's executor fail to start; ours has one and works",
        pools=("inside",),
        since=(3, 12),
        may_lack=(3, 12),
    ),
    Exclusion("ProcessPoolShutdownTest", "test_interpreter_shutdown", BLOCK_OUTPUT, pools=("apart",)),
    Exclusion("ProcessPoolShutdownTest", "test_hang_gh83386", BLOCK_OUTPUT, pools=("apart",)),
    Exclusion("FutureTests", "test_cancel", "reads the private _state"),
    Exclusion("FutureTests", "test_exception_with_success", "sets the private _exception", limit_s=5),
    Exclusion("FutureTests", "test_repr", OWN_REPR),
    Exclusion("FutureTests", "test_multiple_set_result", OWN_REPR),
    Exclusion("FutureTests", "test_multiple_set_exception", OWN_REPR),
)


def excluded(of_class: str, pool: str) -> dict[str, Exclusion]:
    """The exclusions of one class on one of the pools, by test name, for the running version."""
    return {
        test: exclusion
        for exclusion in EXCLUSIONS
        if sys.version_info >= exclusion.since and pool in exclusion.pools
        for name, test in exclusion.names()
        if name == of_class
    }
