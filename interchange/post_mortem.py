"""What can be known about a worker that has died: for the text of `WorkerLost`."""

from __future__ import annotations

import os

from parsl_pool import portable
from parsl_pool.interchange import columns, wire
from parsl_pool.interchange.launch import signal_name
from parsl_pool.interchange.worker_handle import WorkerHandle


class OomCounter:
    """Counts the kernel's out-of-memory kills in our control group, where it tells (cgroup v2)."""

    def __init__(self) -> None:
        self._path = _events_file()
        self._last = self._read()

    def risen(self) -> bool:
        """True if there was one since the last call."""
        now = self._read()
        risen, self._last = now > self._last, now
        return risen

    def _read(self) -> int:
        if not self._path:
            return 0
        try:
            with open(self._path) as file:
                counts = dict(line.split() for line in file)
            return int(counts.get("oom_kill", 0))
        except (OSError, ValueError):
            return 0


def _events_file() -> str:
    if not portable.has_proc():
        return ""
    try:
        with open("/proc/self/cgroup") as file:
            for line in file:
                hierarchy, _, path = line.strip().split(":", 2)
                if hierarchy == "0":
                    name = f"/sys/fs/cgroup{path}/memory.events"
                    return name if os.path.exists(name) else ""
    except (OSError, ValueError):
        pass
    return ""


def _available_kb() -> int:
    if not portable.has_proc():
        return -1
    try:
        with open("/proc/meminfo") as file:
            fields = dict(line.split(":", 1) for line in file)
        return int(fields["MemAvailable"].split()[0])
    except (OSError, KeyError, ValueError):
        return -1


def facts_of(worker: WorkerHandle, host: str, status: int, rss_kb: int, oom: bool) -> dict[str, str]:
    """Names and values, as texts; empty ones are left out."""
    facts = {"worker": str(worker.number), "host": host, "pid": str(worker.pid)}
    if status < 0:
        facts["signal"] = signal_name(-status)
    else:
        facts["exit code"] = str(status)
    if rss_kb:
        facts["largest memory"] = f"{rss_kb / 1024:.0f} MiB"
    if status == -9 and worker.verdict is None:
        if oom:
            facts["likely"] = "the kernel's out-of-memory killer (its count has risen)"
        elif 0 <= _available_kb() < 2 * rss_kb and rss_kb > 1 << 20:
            facts["likely"] = "the kernel's out-of-memory killer (memory is short)"
    facts["stderr"] = worker.stderr.tail()[-2000:]
    facts["stacks"] = _stacks(worker.stacks)
    return {name: value for name, value in facts.items() if value}


def lost_result(worker: WorkerHandle, task: int, facts: dict[str, str], place: str) -> columns.Results:
    """What the client gets for a task whose worker has ended. place: why, if that isn't the task's doing."""
    status, reason = wire.LOST, place
    if worker.verdict is not None and worker.verdict[0] == task:
        _, status, reason = worker.verdict
    if place:
        facts["cause"] = "place"
    if reason:
        facts["reason"] = reason
    record = wire.Facts(list(facts), list(facts.values()))
    return columns.result_of(task, status, wire.encode(record))


def _stacks(fd: int) -> str:
    """What faulthandler wrote when the process crashed."""
    try:
        return os.pread(fd, 8192, 0).decode(errors="replace")
    except OSError:
        return ""
