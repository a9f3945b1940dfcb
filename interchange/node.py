"""What a manager makes of its node: how many workers, and what belongs to the place of each.

    cores, memory, accelerators that are there  ──┐
    what the client wants for each worker        ─┴─► as many places as each of them allows, the smallest number
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence

from parsl_pool import portable
from parsl_pool.interchange import accelerators, affinity
from parsl_pool.interchange.node_facts import CORES, GB, Seen, look
from parsl_pool.interchange.wanted import FIND, NOT_BOUND, Node, Place, UnfitNode, Wanted, rank_variable

BILLION = 10**9
_MOST = 1 << 16  # workers


def arranged(wanted: Wanted, environ: Mapping[str, str], root: str = "/") -> Node:
    """Give each worker its place. Raises UnfitNode."""
    seen = look(environ, root)
    names, unnamed, notes = _accelerators(wanted, environ)
    workers = count(wanted, seen, len(names) or unnamed)
    try:
        cores = affinity.assign(wanted.affinity, seen.cores, workers)
    except ValueError as problem:
        raise UnfitNode(str(problem)) from None
    has_accelerators = bool(names or unnamed)
    places = []
    for rank, own in enumerate(cores):
        variables = [rank_variable(rank), *affinity.variables(own)]
        if has_accelerators:
            dev = os.path.join(root, "dev")
            variables += accelerators.variables(names, unnamed, rank, workers, environ, dev)
        places.append(Place(own, variables))
    if wanted.affinity != NOT_BOUND and not portable.has(os, "sched_setaffinity"):
        notes.append(f"cpu_affinity={wanted.affinity!r}: this system binds no process to cores; OpenMP is told")
    if len(seen.cores) < seen.usable:
        notes.append(
            f"{CORES} says {seen.usable} cores, and this process may use {len(seen.cores)} "
            f"({affinity.shortly(seen.cores)}): what has started it binds it to these"
        )
    return Node(places, accelerators.numbers([place.variables for place in places]), notes)


def joined(places: Sequence[Place]) -> Place:
    """What belongs to a worker that has several places; its rank is that of the first."""
    cores = list(dict.fromkeys(core for place in places for core in place.cores))
    its = accelerators.joined([place.variables for place in places])
    return Place(cores, [places[0].variables[0], *affinity.variables(cores), *its])


def _accelerators(wanted: Wanted, environ: Mapping[str, str]) -> tuple[list[str], int, list[str]]:
    """Their names, or how many there are without names; and what is to be said."""
    if wanted.accelerator_count != FIND:
        return wanted.accelerators, wanted.accelerator_count, []
    found = accelerators.find(environ)
    if found.names:
        return found.names, 0, []
    return [], 0, [f"available_accelerators='auto': none found ({found.how}); workers are bound to none"]


def count(wanted: Wanted, seen: Seen, devices: int) -> int:
    """How many workers there can be: the least of what each thing allows. Raises UnfitNode if that is none."""
    allowed: list[tuple[int, str]] = []
    if wanted.workers:
        allowed.append((wanted.workers, ""))
    if wanted.cores_per_worker:
        # In whole numbers: 0.3 / 0.1 would be 2.9999.
        number = seen.usable * BILLION // wanted.cores_per_worker
        allowed.append((number, f"{wanted.cores_per_worker / BILLION:g} cores, and it has {seen.usable}"))
    if wanted.memory_per_worker and seen.memory:
        number = seen.memory // wanted.memory_per_worker
        each, has = wanted.memory_per_worker / GB, seen.memory / GB
        allowed.append((number, f"{each:g} GB of memory, and it has {has:.4g}"))
    if devices:
        allowed.append((devices, ""))
    if affinity.is_list(wanted.affinity) and not (wanted.workers or wanted.cores_per_worker):
        allowed.append((len(affinity.parts_of(wanted.affinity)), ""))
    if not allowed:
        allowed.append((seen.usable, ""))
    workers, why = min(allowed)
    if workers < 1:
        raise UnfitNode(f"it has no room for a single worker: each is to have {why}")
    return min(workers, _MOST)
