"""Runs one class of CPython's suite in child processes, and judges what came out.

A test that hangs costs its own time limit: its child is ended, and another one runs the tests after it.
"""

import json
import os
import select
import signal
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from tests.cpython.exclusions import Exclusion, excluded
from tests.cpython.suite import Suite

ROOT = Path(__file__).parents[2]
TEST_LIMIT_S = 90.0  # the slowest test takes 6 s alone; the rest is for a machine that others use too
START_LIMIT_S = 60.0  # from the child's start, or its last word, to the next test or its end
GONE_LIMIT_S = 15.0  # for the pool's processes to follow when a child has ended
TOKEN = "CPYTHON_SUITE_TOKEN"  # in the environment of a child and of all that it starts
CHILD = "tests.cpython.child"


@dataclass(frozen=True)
class Outcome:
    """How one test ended: passed, failed, skipped (by CPython), hung or crashed."""

    test: str
    kind: str
    detail: str = ""
    seconds: float = 0.0


@dataclass
class Verdict:
    """What one class came to; good if nothing is in `complaints`."""

    name: str
    run: int = 0
    skipped: int = 0
    excluded: int = 0
    seconds: float = 0.0
    complaints: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        counts = f"{self.run} run, {self.skipped} skipped by CPython, {self.excluded} excluded"
        return f"{self.name}: {counts}, {len(self.complaints)} complaints ({self.seconds:.0f} s)"


def outcome_of(event: Mapping[str, object]) -> Outcome:
    return Outcome(str(event["end"]), str(event["kind"]), str(event["detail"]), float(str(event["seconds"])))


class Child:
    """One process that runs tests of one class, and everything that it starts."""

    def __init__(self, pool: str, suite: Suite, arguments: Sequence[str], module: str = CHILD) -> None:
        self._token = uuid.uuid4().hex
        # A file and not a pipe: forked workers would hold a pipe's end, and its reader would block.
        self._output = tempfile.TemporaryFile()
        self._events, theirs = os.pipe()
        os.set_blocking(self._events, False)
        self._buffer = b""
        path = ["--path", str(suite.root)] if suite.root else []
        self._process = subprocess.Popen(
            [sys.executable, "-m", module, "--pool", pool, "--events", str(theirs), *path, *arguments],
            cwd=ROOT,
            env={**os.environ, TOKEN: self._token},
            stdin=subprocess.DEVNULL,
            stdout=self._output,
            stderr=subprocess.STDOUT,
            pass_fds=[theirs],
            start_new_session=True,
        )
        os.close(theirs)

    def events(self, test_limit_s: float) -> Iterator[dict[str, object]]:
        """What the child says, until it ends.

        Raises:
            TimeoutError: a test has not ended within its limit, or the child has stopped between two tests.
        """
        deadline = time.monotonic() + START_LIMIT_S
        while True:
            ended = self._process.poll() is not None  # before the read: so nothing comes after the last one
            for line in self._lines(0.0 if ended else 0.5):
                event: dict[str, object] = json.loads(line)
                deadline = time.monotonic() + (test_limit_s if "start" in event else START_LIMIT_S)
                yield event
            if ended:
                return
            if time.monotonic() > deadline:
                raise TimeoutError

    def _lines(self, wait_s: float) -> list[bytes]:
        select.select([self._events], [], [], wait_s)
        while chunk := self._read():
            self._buffer += chunk
        *lines, self._buffer = self._buffer.split(b"\n")
        return lines

    def _read(self) -> bytes:
        try:
            chunk = os.read(self._events, 65536)
        except BlockingIOError:
            return b""
        if not chunk:  # its end is closed, so select returns at once from now on
            self._process.wait()
        return chunk

    def stacks(self) -> str:
        """The stacks of all its threads, by its own faulthandler."""
        before = os.fstat(self._output.fileno()).st_size
        self._process.send_signal(signal.SIGUSR1)
        time.sleep(1)  # nothing tells when the dump is complete
        return os.pread(self._output.fileno(), 100_000, before).decode(errors="replace")

    def output(self) -> str:
        """The end of what it printed."""
        size = os.fstat(self._output.fileno()).st_size
        return os.pread(self._output.fileno(), 8000, max(0, size - 8000)).decode(errors="replace")

    def returncode(self) -> int | None:
        return self._process.returncode

    def close(self) -> list[str]:
        """End it if it runs. Returns what it left: processes, which are ended now."""
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()
        os.close(self._events)
        self._output.close()
        deadline = time.monotonic() + GONE_LIMIT_S
        while (left := self._descendants()) and time.monotonic() < deadline:
            psutil.wait_procs(left, timeout=0.5)
        complaints = [f"process {process.pid} is left: {_command(process)}" for process in left]
        for process in left:
            process.kill()
        return complaints

    def _descendants(self) -> list[psutil.Process]:
        found = []
        for process in psutil.process_iter():
            try:
                if process.environ().get(TOKEN) == self._token and process.status() != psutil.STATUS_ZOMBIE:
                    found.append(process)
            except psutil.Error:  # it ended meanwhile, or belongs to someone else
                continue
        return found


def _command(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())[:200]
    except psutil.Error:
        return "?"


@dataclass
class ClassRun:
    """Runs tests of one class with one pool."""

    pool: str
    suite: Suite
    name: str
    module: str = CHILD
    left: list[str] = field(default_factory=list)  # processes that outlived their child

    def outcomes(self, tests: Sequence[str], limit_s: float = TEST_LIMIT_S) -> list[Outcome]:
        """How each of the tests ended, in order."""
        waiting, done = list(tests), list[Outcome]()
        while waiting:
            ended = self._one_child(waiting, limit_s)
            done += ended
            seen = {outcome.test for outcome in ended}
            waiting = [test for test in waiting if test not in seen]
        return done

    def _one_child(self, tests: Sequence[str], limit_s: float) -> list[Outcome]:
        """Outcomes of the tests until one ends the child; at least one."""
        child = Child(self.pool, self.suite, [self.name, *tests], self.module)
        done: list[Outcome] = []
        current = ""
        try:
            for event in child.events(limit_s):
                if "start" in event:
                    current = str(event["start"])
                else:
                    current = ""
                    done.append(outcome_of(event))
        except TimeoutError:
            named = current or f"the child, before the next test ({len(done)} done)"
            done.append(Outcome(named, "hung", child.stacks(), limit_s))
        else:
            if current or child.returncode() != 0 or not done:
                named = current or "the child, between tests"
                done.append(Outcome(named, "crashed", f"exit code {child.returncode()}\n{child.output()}"))
        finally:
            self.left += child.close()
        if not {outcome.test for outcome in done} & set(tests):
            # It would go on for ever: no test came out of it. Give up the whole rest.
            done += [Outcome(test, "crashed", "the child did not get to this test") for test in tests]
        return done


def listing(suite: Suite) -> Mapping[str, Sequence[str]]:
    """The tests of each class for process pools that the suite really has.

    Raises:
        RuntimeError: the child could not import it; the text is its output.
    """
    child = Child("stdlib", suite, ["--list"])  # the names don't depend on the pool
    try:
        found = [*child.events(START_LIMIT_S)]
        if not found:
            raise RuntimeError(f"can't list CPython's suite:\n{child.output()}")
    finally:
        child.close()
    return {name: list(map(str, tests)) for name, tests in found[0].items() if isinstance(tests, list)}


def judge(name: str, outcomes: Sequence[Outcome], exclusions: Mapping[str, Exclusion]) -> Verdict:
    """Compare what happened with what should have."""
    verdict = Verdict(name, seconds=sum(outcome.seconds for outcome in outcomes))
    named = {test for test, exclusion in exclusions.items() if exclusion.may_lack != sys.version_info[:2]}
    for test in named - {outcome.test for outcome in outcomes}:
        verdict.complaints.append(f"{test} is excluded, but is not there: mend exclusions.py")
    for outcome in outcomes:
        exclusion = exclusions.get(outcome.test)
        if exclusion is None:
            verdict.run += outcome.kind != "skipped"
            verdict.skipped += outcome.kind == "skipped"
            if outcome.kind not in ("passed", "skipped"):
                verdict.complaints.append(f"{outcome.test} {outcome.kind}\n{outcome.detail}")
        else:
            verdict.excluded += 1
            if outcome.kind in ("passed", "skipped"):
                verdict.complaints.append(f"{outcome.test} is excluded, but has {outcome.kind}")
    return verdict


def run_class(pool: str, suite: Suite, name: str, tests: Sequence[str]) -> Verdict:
    """Run a class: all its tests together but the excluded ones, and each of those by itself."""
    exclusions = excluded(name, pool)
    run = ClassRun(pool, suite, name)
    outcomes = run.outcomes([test for test in tests if test not in exclusions])
    left = list(run.left)  # what an excluded test leaves is part of its failure
    for test in tests:
        if test in exclusions:
            outcomes += run.outcomes([test], exclusions[test].limit_s)
    verdict = judge(name, outcomes, exclusions)
    verdict.complaints += left
    return verdict
