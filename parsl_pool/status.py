"""What a pool is doing: a snapshot for programs, and an explanation for people."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

from parsl_pool.dataflow.kernel import Kernel
from parsl_pool.executors.high_throughput.link import Link


@dataclass(frozen=True, slots=True)
class PoolStatus:
    """A snapshot of a pool.

    Attributes:
        stage: "new", "open", "draining", "stopping", "closed" or "broken".
        waiting: tasks that wait for the futures among their arguments.
        queued: tasks that wait for a worker.
        running: tasks that a worker has begun.
        done, failed: tasks that have ended, and those among them that failed.
        retried: tries that were repeated.
        workers: live worker processes.
        workers_started, workers_lost: how many ever started, and how many of them ended unasked.
        managers: (name, tasks that it holds, tasks that it asks for) of each.
        tasks_per_second: tasks done, over the time since the first submit.
    """

    stage: str
    waiting: int
    queued: int
    running: int
    done: int
    failed: int
    retried: int
    workers: int
    workers_started: int
    workers_lost: int
    managers: tuple[tuple[str, int, int], ...]
    tasks_per_second: float


def snapshot(backend: Any) -> PoolStatus:
    """The state of a HighThroughputExecutor. Asks the interchange; without an answer `managers` is empty."""
    link: Link = backend.link
    state = link.ask()
    managers = []
    for line in state.managers if state is not None else ():
        name, held, window = line.split("\t")
        managers.append((name, int(held), int(window)))
    running = link.running_count()
    elapsed = time.monotonic() - link.opened_at if link.opened_at else 0.0
    return PoolStatus(
        stage="broken" if link.broken else link.stage.name.lower(),
        waiting=len(backend.kernel),
        queued=max(0, len(link.tries.table) - running),
        running=running,
        done=link.tries.finished,
        failed=link.tries.failed,
        retried=link.tries.retried,
        workers=len(backend.workers.processes),
        workers_started=backend.workers.started,
        workers_lost=backend.workers.lost,
        managers=tuple(managers),
        tasks_per_second=link.tries.finished / elapsed if elapsed else 0.0,
    )


def explain(link: Link, kernel: Kernel, workers: Any) -> str:
    """What waits, for what, since when; a paragraph for people. Asks nobody, so that nothing can block it."""
    table = link.tries.table
    lines = [f"pool {link.label} is {'broken' if link.broken else link.stage.name.lower()}"]
    if link.broken:
        lines.append(f"why: {link.broken}")
    running = link.running_tasks()
    lines.append(
        f"{len(table)} tasks are with the interchange, {len(running)} of them begun by a worker; "
        f"{len(kernel)} wait for futures among their arguments; {link.tries.finished} are done"
    )
    if link.opened_at:
        lines.append(f"the last result came {time.monotonic() - link.tries.last_result:.0f} s ago")
    for future in running[:5]:
        record = future._record
        name = record.label if record is not None else link.function_name(future._fn)
        lines.append(f"running: task {future.tid} ({name})")
    lines += kernel.explain()
    lines.append(_about_workers(link, workers))
    if link.keeper is not None:
        lines += link.keeper.explain()
    return "\n".join(lines)


def _about_workers(link: Link, workers: Any) -> str:
    alive = len(workers.processes)
    if alive:
        hosts = sorted({process.host for process in list(workers.processes.values())})
        return f"{alive} workers are up on {', '.join(hosts)} ({workers.started} started, {workers.lost} lost)"
    if not link.opened_at:
        return "no worker is up: nothing has been submitted"
    since = time.monotonic() - link.opened_at
    return f"no worker is up, {since:.0f} s after the start ({workers.started} started, {workers.lost} lost)"
