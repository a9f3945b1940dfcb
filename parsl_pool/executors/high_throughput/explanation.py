"""What a HighThroughputExecutor is doing, as numbers and in words. Only the list of managers asks anybody."""

from __future__ import annotations

from time import monotonic
from typing import Any

from parsl_pool.errors import shown
from parsl_pool.executors.high_throughput.link import Link
from parsl_pool.executors.high_throughput.managers import Managers
from parsl_pool.futures.told import Progress, progress_of

_SOME = 5
_LOOKED_AT = 10_000  # tasks; there may be millions

def counts(link: Link, kernel: Any, workers: Any) -> dict[str, float]:
    """Numbers for `PoolStatus`."""
    running = len(link.claims.running())
    elapsed = monotonic() - link.opened_at if link.opened_at else 0.0
    return {
        "waiting": len(kernel),
        "queued": max(0, len(link.tries.table) - running),
        "running": running,
        "done": link.tries.finished,
        "failed": link.tries.failed,
        "retried": link.tries.retried,
        "workers": len(workers.processes),
        "workers_started": workers.started,
        "workers_lost": workers.lost,
        "tasks_per_second": link.tries.finished / elapsed if elapsed else 0.0,
    }


def describe(link: Link, workers: int, state: str) -> str:
    """The executor in a few words."""
    tries = link.tries
    return (
        f"{link.label}: {workers} workers, {state}, {len(tries.table)} tasks under way, "
        f"{tries.finished} done, {tries.failed} failed"
    )


def manager_loads(managers: Managers) -> tuple[list[tuple[str, int, int]], int]:
    """From the interchange: name, held tasks and window of each manager; and how many messages were dropped."""
    known, dropped = managers.ask()
    return [(each.manager, each.held, each.window) for each in known or ()], dropped


def explain(link: Link, kernel: Any, workers: Any) -> str:
    """What waits, for what, since when. Asks nobody, so that nothing can block it."""
    table = link.tries.table
    lines = [f"pool {link.label} is {'broken' if link.broken else link.stage.name.lower()}"]
    if link.broken:
        lines.append(f"why: {link.broken}")
    running = link.claims.running()
    lines.append(
        f"{len(table)} tasks are with the interchange, {len(running)} of them begun by a worker; "
        f"{len(kernel)} wait for futures among their arguments; {link.tries.finished} are done"
    )
    now = monotonic()
    if link.opened_at and link.tries.finished:
        lines.append(f"the last result came {now - link.tries.last_result:.0f} s ago")
    elif link.opened_at:
        lines.append(f"no result has come yet, {now - link.opened_at:.0f} s after the start")
    if silence := link.silence():
        lines.append(silence)
    lines += _about_running(link, running)
    lines += _about_asking(link, running)
    lines += kernel.explain()
    lines.append(_about_workers(link, workers, len(running), len(table)))
    if link.keeper is not None:
        lines += link.keeper.explain()
    return "\n".join(lines)


def _about_running(link: Link, running: list[Any]) -> list[str]:
    """Those that have run for the longest time first, as far as that can be seen from here."""
    seen = {}
    for view in list(link.pages.values()):
        if (now := view.runs()) is not None:
            seen[now[0]] = (now[1], f", for {now[1]:.0f} s in process {view.record.pid} on {view.record.host}")
    running = sorted(running, key=lambda future: -seen.get(future._tid, (0.0, ""))[0])
    lines = []
    for future in running[:_SOME]:
        since = seen.get(future._tid, (0.0, ""))[1]
        lines.append(f"running: task {future.tid} ({link.name_of(future)}){since}{_progress_of(future)}")
    if len(running) > _SOME:
        lines.append(f"running: {len(running) - _SOME} more")
    return lines


def _about_asking(link: Link, running: list[Any]) -> list[str]:
    """Who has not begun, and asks for something of its place: there may be none that has so much."""
    begun = {future._tid for future in running}
    waiting = []
    for future in list(link.tries.table.values())[:_LOOKED_AT]:
        record = future._record
        asked = record.options.resources if record is not None else None
        if asked is not None and asked.request is not None and future._tid not in begun:
            waiting.append((future, asked.given))
    if not waiting:
        return []
    first, given = waiting[0]
    return [
        f"{len(waiting)} tasks ask for resources, and have not begun; the first one is task {first.tid} "
        f"({link.name_of(first)}), with {shown(given)}"
    ]


def _progress_of(future: Any) -> str:
    said = str(progress_of(future) or "")
    return f": {said}" if said else ""


def progress(running: list[Any], link: Link) -> list[tuple[int, str, Progress]]:
    """Number, name and progress of the running tasks that have told theirs."""
    told = [(future, progress_of(future)) for future in running]
    return [(future.tid, link.name_of(future), said) for future, said in told if said is not None]


def _about_workers(link: Link, workers: Any, running: int, tasks: int) -> str:
    alive = len(workers.processes)
    if alive:
        hosts = sorted({process.host for process in list(workers.processes.values())})
        text = f"{alive} workers are up on {', '.join(hosts)} ({workers.started} started, {workers.lost} lost)"
        return f"{text}; all are busy, so {tasks - running} tasks wait" if tasks > running >= alive else text
    if running:  # that a task has begun is seen at once; that its worker is up, by a message
        return f"workers are just starting, and have not said yet that they are up ({workers.lost} lost)"
    if not link.opened_at:
        return "no worker is up: nothing has been submitted"
    since = monotonic() - link.opened_at
    return f"no worker is up, {since:.0f} s after the start ({workers.started} started, {workers.lost} lost)"
