"""Programs that use a pool and end in all ways, as real scripts in processes of their own.

    script = Script(tmp_path, body, inside)  ->  script.until("ready")  ->  kill it, or let it end
    script.check_nothing_is_left()

All that a script starts carries its token in the environment, and has its temporary directory.
"""

import contextlib
import os
import selectors
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any

import psutil

from tests.eventually import eventually
from tests.leaks import TOKEN_VARIABLE

ROOT = Path(__file__).parents[2]
LIMIT_S = 10

HEAD = """
import faulthandler, gc, os, signal, sys, threading, time, concurrent.futures as cf
faulthandler.register(signal.SIGUSR1)
from parsl_pool import ParslPoolExecutor
from tests.exits.work import *

INSIDE = {inside!r}

def make(workers=2, **options):
    return ParslPoolExecutor(workers, manager_inside=INSIDE, **options)

def say(*what):
    # One write: a forked child says things to the same pipe, and an unbuffered print (PYTHONUNBUFFERED) is several.
    os.write(1, (" ".join(map(str, what)) + chr(10)).encode())

def main():
{body}

if __name__ == "__main__":
    main()
"""


class Script:
    """A running script. Use it as a context: at the end it is killed, with all that it started."""

    def __init__(self, folder: Path, body: str, inside: bool, **environment: str) -> None:
        self.token = uuid.uuid4().hex[:12]
        # Below the session's own, not below `folder`: multiprocessing has sockets there, whose names must be short.
        self.temporary = Path(tempfile.gettempdir(), self.token[:6])
        self.temporary.mkdir()
        path = folder / f"script-{self.token}.py"
        path.write_text(HEAD.format(inside=inside, body="\n".join(f"    {line}" for line in body.strip().split("\n"))))
        self.seen: list[str] = []
        self._buffer = b""
        with open(folder / f"stderr-{self.token}", "wb") as self._stderr:
            self.process = subprocess.Popen(
                [sys.executable, str(path)],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=self._stderr,
                env={
                    **os.environ,
                    "PYTHONPATH": os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")])),
                    "TMPDIR": str(self.temporary),
                    "SCRATCH": str(folder),
                    TOKEN_VARIABLE: "/".join([os.environ[TOKEN_VARIABLE], self.token]),
                    **environment,
                },
                start_new_session=True,  # its group is its own: a signal to it does not reach the tests
            )
        assert self.process.stdout is not None
        os.set_blocking(self.process.stdout.fileno(), False)

    def __enter__(self) -> "Script":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        processes: list[Any] = [*self.alive(), self.process]
        for process in processes:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        self.process.wait()
        assert self.process.stdout is not None
        self.process.stdout.close()
        shutil.rmtree(self.temporary, ignore_errors=True)

    @property
    def stderr(self) -> str:
        return Path(os.fsdecode(self._stderr.name)).read_text()

    def until(self, word: str, within: float = 30) -> list[str]:
        """Read what it says until a line that begins with the word; that line's other words."""
        return next(words[1:] for words in self.lines(within) if words[:1] == [word])

    def lines(self, within: float) -> Iterator[list[str]]:
        """The words of each line that it says, as they come, and an AssertionError instead of a late one."""
        assert self.process.stdout is not None
        deadline = time.monotonic() + within
        with selectors.DefaultSelector() as selector:
            selector.register(self.process.stdout, selectors.EVENT_READ)
            while True:
                line, found, rest = self._buffer.partition(b"\n")
                if found:
                    self._buffer = rest
                    self.seen.append(line.decode())
                    yield line.decode().split()
                    continue
                assert selector.select(max(0.0, deadline - time.monotonic())), f"not within {within} s; {self}"
                data = os.read(self.process.stdout.fileno(), 65536)
                assert data, f"it ended its output; {self}"
                self._buffer += data

    def ends(self, within: float = 30) -> int:
        """Wait for its end: its exit code."""
        assert self.process.stdout is not None
        try:
            code = self.process.wait(within)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"it has not ended within {within} s; {self}\n{self.stacks()}") from None
        self.seen += (self._buffer + (self.process.stdout.read() or b"")).decode().splitlines()
        self._buffer = b""
        return code

    def stacks(self) -> str:
        """Where its threads are, if it was started with faulthandler on SIGUSR1."""
        self.process.send_signal(signal.SIGUSR1)
        time.sleep(0.5)  # nothing tells when it has written
        return self.stderr[-4000:]

    def alive(self) -> list[psutil.Process]:
        """All processes with its token: itself, and whatever descends from it."""
        found = []
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                if process.status() == psutil.STATUS_ZOMBIE:
                    continue
                if self.token in process.environ().get(TOKEN_VARIABLE, "").split("/"):
                    found.append(process)
        return found

    def check_nothing_is_left(self, within: float = LIMIT_S) -> None:
        """No process, and nothing in its temporary directory."""
        eventually(lambda: not described(self.alive()) or fail_with(described(self.alive())), within)
        eventually(lambda: not left_in(self.temporary) or fail_with(left_in(self.temporary)), within)

    def __repr__(self) -> str:
        return f"<script, said {self.seen}, on stderr: {self.stderr[-3000:]}>"


def described(processes: list[psutil.Process]) -> list[str]:
    texts = []
    for process in processes:
        with contextlib.suppress(psutil.Error):
            texts.append(f"{process.pid} (child of {process.ppid()}): {' '.join(process.cmdline())[:200]}")
    return texts


def left_in(folder: Path) -> list[str]:
    return [str(path.relative_to(folder)) for path in folder.rglob("*")]


def fail_with(things: list[str]) -> bool:
    raise AssertionError("\n".join(["left behind:", *things]))
