"""Reads all of Python's standard library with a pool: `python -m examples.demo [--folder YOURS]`.

A few thousand tasks that need each other's results, handed in all at once. On the way one of the workers
is killed; what it was doing is done again. In the end a part of it is computed again without the pool, and
the demo fails if anything differs.
"""

from __future__ import annotations

import argparse
import builtins
import os
import random
import signal
import sys
import sysconfig
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from examples.demo import work
from examples.demo.screen import Screen
from parsl_pool import AppFuture, ParslPoolExecutor

BLOCK = 10
FAN_IN = 8
LEAVE_OUT = {"test", "tests", "idle_test", "site-packages", "dist-packages", "__pycache__"}
KILL_AFTER, KILL_AGAIN = 0.06, 0.015  # of all tasks: while files are read, which takes longest
MOST_KILLS = 5
EVERYBODYS = frozenset(dir(builtins)) | {"self", "cls"}


class Graph(NamedTuple):
    """The futures of the run."""

    facts: list[AppFuture[work.Facts]]
    sketches: list[AppFuture[work.Sketch]]
    comparisons: list[tuple[int, int, AppFuture[list[work.Pair]]]]
    everything: AppFuture[work.Survey]
    closest: AppFuture[list[work.Pair]]
    tasks: list[AppFuture[Any]]


def main() -> int:
    """Run the demo; 0 if everything was right."""
    options = _options()
    root = options.folder.resolve()
    modules = _modules(root)
    if not modules:
        print(f"There are no Python files in {root}.", file=sys.stderr)
        return 2
    print(f"Reading {len(modules)} modules in {root}")
    screen = Screen()
    began = time.monotonic()
    with ParslPoolExecutor(options.workers, retries=2) as pool:
        graph = _submit(pool, str(root), modules)
        screen.event(f"{len(graph.tasks)} tasks were handed in within {time.monotonic() - began:.2f} s")
        killed = _watch(pool, graph.tasks, screen)
        seconds = time.monotonic() - began
        wrong = _check(graph, str(root), modules)
        status = pool.status()
    if status.workers_lost < len(killed):
        wrong.append(f"{len(killed)} workers were killed, and the pool knows of {status.workers_lost}")
    if not wrong:
        _report(graph.everything.result(), graph.closest.result())
    rate = len(graph.tasks) / seconds
    print(f"\n{len(graph.tasks)} tasks in {seconds:.1f} s by {pool.size} workers: {rate:.0f} a second")
    print(
        f"{len(killed)} killed on purpose, {status.workers_lost} lost, {status.workers_started} started in all;"
        f" tasks that had to run again: {status.retried}"
    )
    for text in wrong:
        print(f"WRONG: {text}")
    if not wrong:
        print("Checked: the merged results, and a sample of the others, were computed again in this process.")
    return bool(wrong)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser("python -m examples.demo", description="A source tree, read by a pool.")
    library = Path(sysconfig.get_path("stdlib"))
    parser.add_argument("--folder", type=Path, default=library, help="other source code than Python's own")
    parser.add_argument("--workers", type=int, help="worker processes (default: one for each processor)")
    return parser.parse_args()


def _modules(root: Path) -> list[str]:
    files = (path.relative_to(root) for path in root.rglob("*.py"))
    return sorted(str(path) for path in files if not LEAVE_OUT.intersection(path.parts))


# ---- the graph


def _submit(pool: ParslPoolExecutor, root: str, modules: list[str]) -> Graph:
    """Hand in everything at once. A task whose arguments are futures begins when these are done."""
    facts = [pool.submit(work.read, root, module) for module in modules]
    surveys = [pool.submit(work.survey, fact) for fact in facts]
    sketches = [pool.submit(work.sketch, fact) for fact in facts]
    blocks = [sketches[start : start + BLOCK] for start in range(0, len(sketches), BLOCK)]
    beside = [(i, j) for i in range(len(blocks)) for j in range(i + 1)]
    comparisons = [(i, j, pool.submit(work.compare, blocks[i], blocks[j])) for i, j in beside]
    tasks: list[AppFuture[Any]] = [*facts, *surveys, *sketches, *(future for _, _, future in comparisons)]
    everything = _tree(pool, work.merge, surveys, tasks)
    closest = _tree(pool, work.closest, [future for _, _, future in comparisons], tasks)
    return Graph(facts, sketches, comparisons, everything, closest, tasks)


def _tree(
    pool: ParslPoolExecutor, join: Callable[[list[Any]], Any], leaves: list[Any], tasks: list[AppFuture[Any]]
) -> AppFuture[Any]:
    """Join the leaves in groups, the results in groups again, until one is left. Nobody waits for a level."""
    level = leaves
    while True:
        level = [pool.submit(join, level[start : start + FAN_IN]) for start in range(0, len(level), FAN_IN)]
        tasks += level
        if len(level) == 1:
            root: AppFuture[Any] = level[0]
            return root


# ---- while it runs


def _watch(pool: ParslPoolExecutor, tasks: list[AppFuture[Any]], screen: Screen) -> set[int]:
    """Show the progress until all is done, and kill a worker on the way. Returns the pids of those that it took.

    A worker may be between two tasks when it is killed, whatever was seen before: then another one has to go, so
    that a task is hit.
    """
    killed = set[int]()
    while (done := sum(task.done() for task in tasks)) < len(tasks):
        workers = sorted(pool._processes)
        screen.progress(done, len(tasks), workers)
        is_time = done >= (KILL_AFTER + KILL_AGAIN * len(killed)) * len(tasks) and len(killed) < MOST_KILLS
        alive = sorted(set(workers) - killed)
        if is_time and alive and _all_are_busy(pool) and not pool.status().retried:
            victim = random.choice(alive)
            os.kill(victim, signal.SIGKILL)
            screen.event(f"Killed the worker with pid {victim} by SIGKILL, after {done} tasks")
            killed.add(victim)
        time.sleep(0.02)
    screen.progress(done, len(tasks), sorted(pool._processes))
    screen.end()
    return killed


def _all_are_busy(pool: ParslPoolExecutor) -> bool:
    status = pool.status()
    return status.running >= status.workers


# ---- afterwards


def _report(survey: work.Survey, pairs: list[work.Pair]) -> None:
    names = [(name, count) for name, count in survey.names.most_common(60) if name not in EVERYBODYS]
    copies = [places for places in survey.shapes.values() if len(places) > 1]
    most_copied = max(copies, key=lambda places: (len(places), places), default=[])
    print(f"\n{survey.lines:,} lines, {survey.functions:,} functions, {len(survey.names):,} different names")
    print("most used names:   ", ", ".join(f"{name} {count:,}" for name, count in names[:6]))
    print("longest name:      ", max(survey.names, key=lambda name: (len(name), name), default=""))
    imports = survey.imports.most_common(6)
    print("most imported:     ", ", ".join(f"{name} {count}" for name, count in imports))
    for function in survey.longest[:1]:
        print(f"longest function:   {function.where}, {function.lines} lines")
    for function in survey.knottiest[:1]:
        print(f"most branches:      {function.where}, {function.branches} of them")
    print(f"written twice:      {len(copies)} functions of 10 lines or more, such as")
    for place in most_copied[:3]:
        print(f"                    {place}")
    for pair in pairs:
        print(f"near relations:     {pair.one} and {pair.other}: {pair.likeness:.0%} of the names in common")


def _check(graph: Graph, root: str, modules: list[str]) -> list[str]:
    """What differs between the pool's results and those of this process."""
    failed = [task for task in graph.tasks if task.exception() is not None]
    if failed:
        return [f"{len(failed)} tasks failed, such as {task!r}: {task.exception()}" for task in failed[:3]]
    wrong = []
    chance = random.Random(1)
    for number in chance.sample(range(len(modules)), min(40, len(modules))):
        facts = graph.facts[number].result()
        if work.read(root, modules[number]) != facts or work.sketch(facts) != graph.sketches[number].result():
            wrong.append(f"the facts about {modules[number]}")
    if work.merge([work.survey(future.result()) for future in graph.facts]) != graph.everything.result():
        wrong.append("the survey of everything")
    for i, j, future in chance.sample(graph.comparisons, min(40, len(graph.comparisons))):
        some, others = ([it.result() for it in graph.sketches[k * BLOCK : (k + 1) * BLOCK]] for k in (i, j))
        if work.compare(some, others) != future.result():
            wrong.append(f"the comparison of blocks {i} and {j}")
    if work.closest([future.result() for _, _, future in graph.comparisons]) != graph.closest.result():
        wrong.append("the closest pairs")
    return wrong


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit("\nStopped.")
