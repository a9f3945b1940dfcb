"""What a test left behind: processes, threads, descriptors, shared memory, temporary files, levels of loggers.

    before = census()  ->  the test  ->  left_behind(before)  ->  what has to be in the failure's text

A process is ours if it descends from this one, or if its environment carries this session's token: helpers
inherit the environment, so the token also finds those that were orphaned or have a session of their own.
conftest.py checks every test; a fixture that holds a pool longer than a test says so with `keeping`.
"""

import contextlib
import gc
import logging
import os
import tempfile
import threading
import time
import uuid
from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import psutil
import pytest

TOKEN_VARIABLE = "PARSL_POOL_RUN_TOKEN"
THREAD_PREFIX = "parsl-pool"
SHARED_MEMORY = Path("/dev/shm")

# By what they begin with: ours, multiprocessing's, and semaphores. The folder is the whole machine's, and whatever else
# somebody keeps in it, open or not, is no test's: one passed, and then failed for a benchmark's files (twice in three).
SHARED_NAMES = ("parsl-pool", "psm_", "pym-", "mp-", "sem.")

TOKEN = uuid.uuid4().hex[:12]

# What ran before this session is none of its processes. A recycled number among them would hide a leak: with
# the usual four million numbers that is less likely than any fault this module looks for.
_OLDER = frozenset(psutil.pids())

# How long a test may take to let go of what it had.
PATIENCE_S = 5.0

_keepers: list[str] = []


class Thing(NamedTuple):
    """One thing that exists; equal to itself in a later census."""

    kind: str
    identity: object


def mark_this_session() -> None:
    """Lets all processes that are started from now on carry the token.

    A session inside a session (an xdist worker, a pytest run by a test) adds its token to the outer one's, so
    each finds what is its own.
    """
    outer = os.environ.get(TOKEN_VARIABLE)
    os.environ[TOKEN_VARIABLE] = f"{outer}/{TOKEN}" if outer else TOKEN


def census() -> dict[Thing, str]:
    """All that a test could leave behind, and how to say it."""
    return {
        **_processes(),
        **{Thing("thread", thread): f"thread {thread.name}" for thread in _threads()},
        **_descriptors(),
        **_shared_memory(),
        **_temporary_files(),
        **_levels(),
    }


def left_behind(before: Mapping[Thing, str], within: float | None = None) -> dict[Thing, str]:
    """What is there now and was not in `before`.

    Waits for it to go away: up to `within` seconds, or PATIENCE_S.
    """
    deadline = time.monotonic() + (PATIENCE_S if within is None else within)
    pause_s = 0.002
    while True:
        late = time.monotonic() >= deadline
        left = {thing: text for thing, text in census().items() if thing not in before}
        if late and any(thing.kind == "shared memory" for thing in left):
            strangers = {Thing("shared memory", name) for name in _used_by_others()}
            left = {thing: text for thing, text in left.items() if thing not in strangers}
        if late or not left:
            return left
        gc.collect()  # a socket in a garbage cycle is not a leak
        time.sleep(pause_s)
        pause_s = min(2 * pause_s, 0.2)


def fail_if_left(who: str, before: Mapping[Thing, str]) -> None:
    """Fails the running test if something new is still there; ends the processes among it first."""
    left = left_behind(before)
    if not left:
        return
    end_processes(left)  # one leak should fail one test, and not outlive the session
    pytest.fail(f"{who} left behind:\n  " + "\n  ".join(sorted(left.values())), pytrace=False)


def end_processes(things: Mapping[Thing, str]) -> None:
    """Kills the processes among the things, and collects those that are our children."""
    processes = [thing.identity for thing in things if isinstance(thing.identity, psutil.Process)]
    for process in processes:
        with contextlib.suppress(psutil.Error):
            process.kill()
    psutil.wait_procs(processes, timeout=1)


@contextlib.contextmanager
def keeping(who: str) -> Iterator[None]:
    """For a fixture that holds things longer than one test: not the tests are checked, but the fixture's end.

        with leaks.keeping("the module's pool"), ParslPoolExecutor(2) as pool:
            yield pool
    """
    before = census()
    _keepers.append(who)
    try:
        yield
    finally:
        _keepers.remove(who)
    if not _keepers:
        fail_if_left(who, before)


def is_kept() -> bool:
    """True while a fixture holds things for longer than one test."""
    return bool(_keepers)


def _processes() -> dict[Thing, str]:
    newer: dict[int, psutil.Process] = {}
    parents: dict[int, int] = {}
    for pid in set(psutil.pids()) - _OLDER - {os.getpid()}:
        with contextlib.suppress(psutil.NoSuchProcess):  # it went away while we looked
            newer[pid] = psutil.Process(pid)
            parents[pid] = newer[pid].ppid()
    found = {}
    for pid in parents:
        with contextlib.suppress(psutil.NoSuchProcess), newer[pid].oneshot():
            if _is_ours(newer[pid], parents):
                found[Thing("process", newer[pid])] = _describe(newer[pid])
    return found


def _is_ours(process: psutil.Process, parents: Mapping[int, int]) -> bool:
    if process.status() == psutil.STATUS_ZOMBIE:
        return process.ppid() == os.getpid()  # another parent's zombie is for that parent to collect
    with contextlib.suppress(psutil.AccessDenied):
        if TOKEN in process.environ().get(TOKEN_VARIABLE, "").split("/"):
            return True
    ancestor = process.pid
    while ancestor in parents and ancestor != os.getpid():
        ancestor = parents[ancestor]
    return ancestor == os.getpid()


def _describe(process: psutil.Process) -> str:
    if process.status() == psutil.STATUS_ZOMBIE:
        return f"process {process.pid}: ended, but nobody waited for it"
    try:
        command = " ".join(process.cmdline())
    except psutil.AccessDenied:
        command = process.name()
    return f"process {process.pid} ({process.status()}, child of {process.ppid()}): {command[:300]}"


def _threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name.startswith(THREAD_PREFIX)]


def _descriptors() -> dict[Thing, str]:
    """The open descriptors. Eventfds and the like all look the same, so the n-th of a look is the thing."""
    by_target: dict[str, list[int]] = defaultdict(list)
    for number in sorted(int(name) for name in os.listdir("/proc/self/fd")):
        with contextlib.suppress(OSError):  # the one that the listing itself had open
            by_target[os.readlink(f"/proc/self/fd/{number}")].append(number)
    return {
        Thing("descriptor", (target, nth)): f"descriptor {number}: {target}"
        for target, numbers in by_target.items()
        for nth, number in enumerate(numbers)
    }


def _shared_memory() -> dict[Thing, str]:
    entries = os.listdir(SHARED_MEMORY) if SHARED_MEMORY.is_dir() else []
    entries = [name for name in entries if name.startswith(SHARED_NAMES)]
    return {Thing("shared memory", name): f"shared memory {SHARED_MEMORY / name}" for name in entries}


def _used_by_others() -> set[str]:
    """The names in /dev/shm, which is the whole machine's, that processes not ours have mapped or open.

    By inode: a semaphore's file is made under one name and mapped, and only then gets the name it has.
    """
    ours = {thing.identity.pid for thing in _processes() if isinstance(thing.identity, psutil.Process)}
    used: set[int] = set()
    for pid in set(psutil.pids()) - ours - {os.getpid()}:
        with contextlib.suppress(OSError):  # it ended, or belongs to another user
            for line in Path(f"/proc/{pid}/maps").read_text().splitlines():
                if f"{SHARED_MEMORY}/" in line:
                    used.add(int(line.split()[4]))
            for descriptor in os.scandir(f"/proc/{pid}/fd"):
                if os.readlink(descriptor).startswith(f"{SHARED_MEMORY}/"):
                    used.add(descriptor.stat().st_ino)
    return {entry.name for entry in os.scandir(SHARED_MEMORY) if entry.inode() in used}


def _temporary_files() -> dict[Thing, str]:
    """conftest.py gives each session a temporary directory of its own, so whatever is in it is ours."""
    root = Path(tempfile.gettempdir())
    return {Thing("file", path): f"temporary file or folder {path}" for path in root.iterdir()}


def _levels() -> dict[Thing, str]:
    """What a test makes our loggers say, another would hear. (In CI one did, as the order of files changed.)"""
    names = ["", *(name for name in list(logging.root.manager.loggerDict) if name.split(".")[0] == "parsl_pool")]
    levels = {name: logging.getLogger(name).level for name in names}
    return {
        Thing("level", (name, level)): f"level {level} of logger {name!r}"
        for name, level in levels.items()
        if level or not name
    }
