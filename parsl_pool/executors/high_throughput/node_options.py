"""What the user says of each node: how many workers it has, what belongs to each, and how many tasks it holds ready."""

from __future__ import annotations

import os
from typing import Any

from parsl_pool import checks
from parsl_pool.errors import ConfigurationError
from parsl_pool.interchange.layout import arrange
from parsl_pool.interchange.wanted import FIND, NOT_BOUND, UnfitNode, Wanted
from parsl_pool.loggers import careful_logger

log = careful_logger(__name__)

AUTO = "auto"
_LARGEST_GB = 1e9
_MOST_TASKS = 1 << 20

_cores = checks.optional(checks.number(least=1e-6, most=checks.MOST_WORKERS))
_memory = checks.optional(checks.number(above=0, most=_LARGEST_GB, kind="a number of GB"))
_prefetch = checks.optional(checks.whole(least=0, most=_MOST_TASKS))
_some = checks.whole(least=0, most=checks.MOST_WORKERS)


def _device(value: Any) -> str:
    """Numbers are names, too."""
    return checks.name._accept(value if isinstance(value, str) else str(_some._accept(value)))


_devices = checks.list_of(checks.Rule("a name or a number", "", _device), "a list of names")


def _accelerators(value: Any) -> tuple[list[str], int]:
    """Names, or a number without names."""
    if isinstance(value, str):
        if value != AUTO:
            raise ValueError
        return [], FIND
    try:
        iter(value)
    except TypeError:
        return [], _some._accept(value)
    names = _devices._accept(value)
    are_numbered = names == [str(number) for number in range(len(names))]
    return ([], len(names)) if are_numbered else (names, 0)


def _affinity(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError
    if value == NOT_BOUND:
        return NOT_BOUND
    from parsl_pool.interchange import affinity  # rarely needed

    if affinity.is_list(value):
        affinity.parts_of(value)
    elif value not in affinity.WORDS:
        raise ValueError
    return str.__str__(value)


available_accelerators = checks.Rule("a number, a list of names, or 'auto'", "", _accelerators)
cpu_affinity = checks.Rule(
    "a text", "'none', 'block', 'block-reverse', 'alternating', or 'list:0-3:4-7' (a part for each worker)", _affinity
)


def wanted(
    workers: int | None, cores: float | None, memory: float | None, accelerators: Any, bound: str, prefetch: int | None
) -> Wanted:
    """The options, checked. workers: at most so many, checked before. Raises ConfigurationError."""
    cores, memory = _cores("cores_per_worker", cores), _memory("mem_per_worker", memory)
    names, count = available_accelerators("available_accelerators", accelerators)
    word = cpu_affinity("cpu_affinity", bound)
    parts = word.count(":") if word.startswith("list:") else 0
    if workers and parts > workers:
        raise ConfigurationError(
            f"cpu_affinity={word!r} is for {parts} workers, and max_workers_per_node={workers} allows fewer: "
            "make them equal"
        )
    if cores is None and not (workers or parts):
        cores = 1.0
    ready = _prefetch("prefetch_capacity", prefetch)
    return Wanted(
        workers or 0, round((cores or 0) * 10**9), round((memory or 0) * 2**30), names, count, word,
        -1 if ready is None else ready,
    )  # fmt: skip


def expected(wanted: Wanted, provider: Any, inside: bool) -> tuple[Wanted, int]:
    """What managers are to be told, and how many workers each of them will have, as far as that can be known here.

    Raises:
        ConfigurationError: there can't be a single one.
    """
    if wanted.is_plain:
        return wanted, wanted.workers
    from parsl_pool.interchange import node, node_facts  # rarely needed

    try:
        if inside:
            return _here(wanted)
        told = {node_facts.CORES: provider.cores_per_node, node_facts.MEMORY: provider.mem_per_node} if provider else {}
        seen = node_facts.look({name: str(value) for name, value in told.items() if value})
        if provider is not None and not told[node_facts.MEMORY]:
            seen = seen._replace(memory=0)  # who knows
        try:
            return wanted, node.count(wanted, seen, len(wanted.accelerators) or max(0, wanted.accelerator_count))
        except UnfitNode:
            if any(told.values()):
                raise
            return wanted, 1  # those nodes may have more than this one
    except UnfitNode as problem:
        where = "this machine" if inside else "a node of this provider"
        raise ConfigurationError(f"no worker can run on {where}: {problem}") from None


def _here(wanted: Wanted) -> tuple[Wanted, int]:
    """For a manager on this machine, which need not find out what we know."""
    from parsl_pool.interchange import accelerators  # as above

    if wanted.accelerator_count == FIND:
        found = accelerators.find(os.environ)
        if not found.names:
            log.warning("available_accelerators='auto': none found (%s); workers are bound to none", found.how)
        wanted = wanted._replace(accelerators=found.names, accelerator_count=0)
    workers = len(arrange(wanted, os.environ).places)
    return wanted._replace(workers=workers, cores_per_worker=0, memory_per_worker=0), workers
