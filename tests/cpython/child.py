"""Runs one class of CPython's suite in this process, with another pool in ProcessPoolExecutor's place.

Started by runner.py, which reads one JSON object a line from `--events`: a test starts, a test has ended.
"""

import argparse
import concurrent.futures
import faulthandler
import gc
import importlib
import json
import os
import signal
import sys
import time
import traceback
import unittest
from concurrent.futures import Executor
from pathlib import Path
from types import ModuleType, TracebackType
from typing import Any, TextIO

from tests.cpython import app_future, suite
from tests.cpython.pools import POOLS
from tests.cpython.suite import ALONE, CONTEXTS

ROOT = Path(__file__).parents[2]
Error = tuple[type[BaseException], BaseException, TracebackType] | tuple[None, None, None]

# What the suite's own scripts, run by `python -I -c`, need before them. One, which CPython always skips for
# process pools, uses `multiprocessing` and never imports it.
PRELUDE = """\
import sys, multiprocessing, concurrent.futures
sys.path[:0] = {path!r}
from tests.cpython.pools import POOLS
concurrent.futures.{name} = POOLS[{pool!r}]()
"""


class Reporter(unittest.TestResult):
    """Writes what happens at once, so that a hang leaves the name of its test behind."""

    def __init__(self, events: TextIO, support: Any) -> None:
        super().__init__()
        self._events = events
        self._support = support
        self._kind, self._detail, self._started_s = "passed", "", 0.0

    def startTest(self, test: unittest.TestCase) -> None:
        super().startTest(test)
        self._kind, self._detail, self._started_s = "passed", "", time.monotonic()
        self._support.environment_altered = False
        self._say(start=test._testMethodName)

    def stopTest(self, test: unittest.TestCase) -> None:
        super().stopTest(test)
        if self._kind == "passed" and self._support.environment_altered:
            # What `regrtest --fail-env-changed` asks for: threads and children of a test end with it.
            self._kind, self._detail = "failed", "the test left a thread or a child process behind"
        seconds = time.monotonic() - self._started_s
        self._say(end=test._testMethodName, kind=self._kind, detail=self._detail, seconds=round(seconds, 2))

    def addError(self, test: Any, err: Error) -> None:
        self._failed(test, err)

    def addFailure(self, test: Any, err: Error) -> None:
        self._failed(test, err)

    def addSubTest(self, test: Any, subtest: Any, err: Error | None) -> None:
        if err is not None:
            self._failed(test, err)

    def addSkip(self, test: Any, reason: str) -> None:
        self._kind, self._detail = "skipped", reason

    def _failed(self, test: Any, err: Error) -> None:
        text = "".join(traceback.format_exception(*err))
        if isinstance(test, unittest.TestCase):
            self._kind, self._detail = "failed", self._detail + text
        else:  # setUpModule or a class: no test has started that could carry it
            self._say(end=str(test), kind="failed", detail=text, seconds=0.0)

    def _say(self, **event: object) -> None:
        self._events.write(json.dumps(event) + "\n")
        self._events.flush()


def put_in_place(pool: str, path: list[str]) -> type[Executor]:
    """Make the suite, not yet imported, use that pool wherever it uses ProcessPoolExecutor."""
    chosen = POOLS[pool]()
    # A few tests name futures.ProcessPoolExecutor itself. It must not be the same class as executor_type:
    # one test would skip itself then, since CPython's pool hangs there.
    named = type("ProcessPoolExecutor", (chosen,), {"__module__": __name__})
    concurrent.futures.ProcessPoolExecutor = named  # type: ignore[misc,assignment]
    script_helper: Any = importlib.import_module("test.support.script_helper")
    prelude = PRELUDE.format(path=[str(ROOT), *path], name=chosen.__name__, pool=pool)
    original = script_helper.assert_python_ok

    def assert_python_ok(option: str, script: str, **env: str) -> Any:
        return original(option, prelude + script, **env)

    script_helper.assert_python_ok = assert_python_ok
    if sys.version_info < (3, 11):
        _count_running_threads_only()
    return chosen


def _count_running_threads_only() -> None:
    """As later versions of the suite: an ended thread whose object is still to be collected is not left behind."""
    threading_helper: Any = importlib.import_module("test.support.threading_helper")
    original = threading_helper.threading_cleanup

    def threading_cleanup(*before: object) -> None:
        gc.collect()
        original(*before)

    threading_helper.threading_cleanup = threading_cleanup


def classes(modules: list[ModuleType], executor: type[Executor]) -> dict[str, type[unittest.TestCase]]:
    """The suite's classes for process pools by name, with the pool in place."""
    from tests.cpython import default_context  # here: it imports the suite

    found: dict[str, Any] = {}
    for module in [*modules, default_context]:
        found.update({name: value for name, value in vars(module).items() if isinstance(value, type)})
    for context in CONTEXTS:
        found[f"ProcessPool{context}Mixin"].executor_type = executor
    return {
        name: value
        for name, value in found.items()
        if issubclass(value, unittest.TestCase) and (name.startswith("ProcessPool") or name in ALONE)
    }


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--pool", required=True, choices=POOLS)
    parser.add_argument("--events", required=True, type=int, metavar="FD")
    parser.add_argument("--path", action="append", default=[], help="a folder that holds the suite's `test`")
    parser.add_argument("--list", action="store_true", help="report the names of the classes and their tests")
    parser.add_argument("class_name", nargs="?")
    parser.add_argument("tests", nargs="*")
    args = parser.parse_args()
    os.set_inheritable(args.events, False)
    faulthandler.register(signal.SIGUSR1, all_threads=True)  # the runner asks for it when a test hangs
    sys.path[:0] = args.path
    executor = put_in_place(args.pool, args.path)
    found = classes(suite.load(), executor)
    names = unittest.defaultTestLoader.getTestCaseNames
    with open(args.events, "w") as events:
        if args.list:
            events.write(json.dumps({name: list(names(each)) for name, each in found.items()}) + "\n")
        else:
            support = importlib.import_module("test.support")
            test_class = found[args.class_name]
            tests = args.tests or names(test_class)
            if args.class_name == "FutureTests" and args.pool != "stdlib":
                app_future.put_in_place(sys.modules[test_class.__module__])
            unittest.TestSuite(map(test_class, tests)).run(Reporter(events, support))


if __name__ == "__main__":
    main()
