"""What a tree of processes costs: memory, CPU, wake-ups. Read from /proc, so Linux only.

Run as a program it samples a tree from outside until its stdin ends, and prints the peaks:
`python -m benchmarks.processes ROOT_PID`. A thread in the client would take the GIL from what is measured.
"""

from __future__ import annotations

import ctypes
import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

PAGE = os.sysconf("SC_PAGE_SIZE")
PR_SET_CHILD_SUBREAPER = 36    # prctl(2)


def adopt_orphans() -> None:
    """Become the parent of whatever the descendants of this process leave behind, so that `tree` finds it."""
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def tree(root: int) -> list[int]:
    """The pids of `root` and of all its living descendants."""
    children: dict[int, list[int]] = {}
    for pid, parent, state in _table():
        if state != "Z":
            children.setdefault(parent, []).append(pid)
    found = [root]
    for pid in found:    # grows while it is read: breadth first
        found += children.get(pid, [])
    return found


def _table() -> Iterator[tuple[int, int, str]]:
    for entry in os.listdir("/proc"):
        if entry.isdigit() and (text := _read(f"/proc/{entry}/stat")):
            # The name in parentheses may hold blanks and parentheses itself: count from the last one.
            state, parent = text[text.rindex(")") + 2 :].split()[:2]
            yield int(entry), int(parent), state


def _read(path: str) -> str:
    """The text of a file of /proc, or nothing: its process may end at any moment."""
    try:
        return Path(path).read_text()
    except (OSError, UnicodeDecodeError):
        return ""


def rss(pid: int) -> int:
    """Resident bytes of one process, pages that it shares with others included."""
    fields = _read(f"/proc/{pid}/statm").split()
    return int(fields[1]) * PAGE if fields else 0


def pss(pid: int) -> int:
    """Resident bytes of one process, a page shared by n processes counting 1/n."""
    for line in _read(f"/proc/{pid}/smaps_rollup").splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) * 1024
    return 0


def command(pid: int) -> str:
    """The command line, shortened: enough to know who it is."""
    return _read(f"/proc/{pid}/cmdline").replace("\0", " ").strip()[:120]


@dataclass(frozen=True)
class Usage:
    """CPU and wake-ups of some processes since they began, all their threads together."""

    ticks: int
    cpu_s: float
    switches: int

    def __sub__(self, earlier: Usage) -> Usage:
        return Usage(self.ticks - earlier.ticks, self.cpu_s - earlier.cpu_s, self.switches - earlier.switches)


def usage(pids: Iterable[int]) -> Usage:
    """What the processes have used so far."""
    ticks, cpu_ns, switches = 0, 0, 0
    for pid in pids:
        if stat := _read(f"/proc/{pid}/stat"):
            fields = stat[stat.rindex(")") + 2 :].split()
            ticks += int(fields[11]) + int(fields[12])    # utime and stime: proc_pid_stat(5)
        for thread in _threads(pid):
            # schedstat and status count one thread each, unlike stat.
            cpu_ns += int((_read(f"/proc/{pid}/task/{thread}/schedstat").split() or ["0"])[0])
            switches += _switches(_read(f"/proc/{pid}/task/{thread}/status"))
    return Usage(ticks, cpu_ns / 1e9, switches)


def usage_from_outside(root: int, seconds: float) -> Usage:
    """What the tree under `root` uses in that time, read by a process of its own: reading /proc takes milliseconds."""
    command_line = [sys.executable, "-m", "benchmarks.processes", str(root), str(seconds)]
    answer = subprocess.run(command_line, stdout=subprocess.PIPE, text=True, check=True).stdout
    return Usage(**json.loads(answer))


def _watch(root: int, seconds: float) -> None:
    time.sleep(0.5)  # the program that started this one is at rest by then
    pids = [pid for pid in tree(root) if pid != os.getpid()]
    before = usage(pids)
    time.sleep(seconds)
    print(json.dumps((usage(pids) - before).__dict__))


def _threads(pid: int) -> list[str]:
    try:
        return os.listdir(f"/proc/{pid}/task")
    except OSError:
        return []


def _switches(status: str) -> int:
    return sum(int(line.split()[1]) for line in status.splitlines() if "ctxt_switches" in line)


def end_tree(root: int) -> None:
    """Kill `root` and its descendants, the ones that went into sessions of their own too."""
    for pid in reversed(tree(root)):
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            pass    # it went by itself


def wait_until(condition: Callable[[], bool], within_s: float, every_s: float = 0.02) -> bool:
    """Whether the condition came true in time."""
    deadline = time.monotonic() + within_s
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(every_s)
    return True


@dataclass
class Peaks:
    """The highest sums seen over a tree of processes, in bytes; filled in when the sampling ends."""

    rss: int = 0
    pss: int = 0


@contextmanager
def sampled(root: int) -> Iterator[Peaks]:
    """Sample the tree under `root` from a process of its own while the body runs."""
    peaks = Peaks()
    command_line = [sys.executable, "-m", "benchmarks.processes", str(root)]
    with subprocess.Popen(command_line, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as sampler:
        assert sampler.stdout is not None
        sampler.stdout.readline()    # it samples from here on
        yield peaks
        peaks.__dict__.update(json.loads(sampler.communicate()[0]))


def _sample_until_stdin_ends(root: int) -> None:
    print("sampling", flush=True)
    peaks = Peaks()
    while not select.select([sys.stdin], [], [], 0.003)[0]:
        pids = [pid for pid in tree(root) if pid != os.getpid()]
        peaks.rss = max(peaks.rss, sum(map(rss, pids)))
        peaks.pss = max(peaks.pss, sum(map(pss, pids)))
    print(json.dumps(peaks.__dict__))


if __name__ == "__main__":
    if len(sys.argv) > 2:
        _watch(int(sys.argv[1]), float(sys.argv[2]))
    else:
        _sample_until_stdin_ends(int(sys.argv[1]))
