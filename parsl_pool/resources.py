"""What users say that a task needs: a dict, checked when the call is made. Its keys are case-sensitive."""

from __future__ import annotations

import math
import shlex
from collections.abc import Mapping
from typing import Any

from parsl_pool import checks
from parsl_pool.dataflow.record import Options
from parsl_pool.errors import ConfigurationError, InvalidResourceSpecification, WrongType, shown
from parsl_pool.interchange.request import Asked, Request

_MOST = 1 << 30  # of whatever: more was meant in another unit
_COUNT = checks.whole(least=1, most=_MOST)

KEYS: Mapping[str, checks.Rule[Any]] = {
    "cores": _COUNT,
    "memory": checks.whole(least=1, most=_MOST, kind="a whole number of megabytes"),
    "disk": checks.whole(least=1, most=_MOST, kind="a whole number of megabytes"),
    "gpus": checks.whole(least=0, most=_MOST),
    "running_time_min": checks.number(above=0, most=1e6, kind="a number of minutes"),
    "priority": checks.whole(least=-(1 << 31), most=(1 << 31) - 1),
    "num_nodes": _COUNT,
    "ranks_per_node": _COUNT,
    "num_ranks": _COUNT,
    "launcher_options": checks.any_text,
}
"""What each may be."""

MPI_KEYS = ("num_nodes", "ranks_per_node", "num_ranks", "launcher_options")
PLACE_KEYS = ("cores", "memory", "disk", "gpus")


def asked(name: str, given: object) -> Asked | None:
    """What a specification asks for; None for nothing. name: what the user knows the argument by.

    Raises:
        WrongType: it is no dict.
        InvalidResourceSpecification: it has a key that there is not, or a value that can't be.
    """
    if given is None:
        return None
    if not isinstance(given, dict):
        raise WrongType(f"{name} must be a dict, or None, got {shown(given)}")
    if not given:
        return None
    values: dict[Any, Any] = {}
    for key, value in given.items():
        if key not in KEYS:
            raise wrong("", f"there is no key {shown(key)}; there are: {', '.join(KEYS)}", given, name)
        try:
            values[key] = KEYS[key](key, value)
        except ConfigurationError as problem:
            raise wrong("", str(problem), given, name) from None
    _check_launcher_options(values.get("launcher_options", ""), given, name)
    if values.get("launcher_options") and len(values["launcher_options"]) > 4000:
        raise wrong("", "launcher_options must have at most 4,000 characters", given, name)
    _complete_ranks(values, given, name)
    priority = values.pop("priority", None)
    return Asked(dict(given), _request(values) if any(values.values()) else None, priority)


def asking(options: Options, asked: Asked | None, priority: object = None) -> Options:
    """The options with what a task asks for, which may be a priority. priority: what has been said beside it.

    Raises:
        ConfigurationError: two priorities.
    """
    if asked is None or asked.priority is None:
        return options._replace(resources=asked)
    if priority is not None and priority != asked.priority:
        raise ConfigurationError(
            f"priority must be said once, got {asked.priority} in resources and {shown(priority)} beside them"
        )
    return options._replace(resources=asked, priority=asked.priority)


def _request(values: dict[str, Any]) -> Request:
    cores, memory, disk, gpus, nodes, per_node, ranks = (values.get(key, 0) for key in (*PLACE_KEYS, *MPI_KEYS[:3]))
    running_ms = math.ceil(values.get("running_time_min", 0) * 60_000)
    options = values.get("launcher_options", "")
    return Request(cores, memory, disk, gpus, running_ms, nodes, per_node, ranks, options)


def _complete_ranks(values: dict[str, Any], given: dict[str, Any], name: str) -> None:
    """Any two of the three numbers of an MPI program give the third."""
    if not any(key in values for key in MPI_KEYS):
        return
    nodes, per_node, ranks = (int(values.get(key, 0)) for key in MPI_KEYS[:3])
    problem = ""
    if (nodes, per_node, ranks).count(0) > 1:
        problem = "an MPI program needs two of num_nodes, ranks_per_node and num_ranks"
    elif ranks and ranks % (nodes or per_node):
        divisor = f"num_nodes={nodes}" if nodes else f"ranks_per_node={per_node}"
        problem = f"num_ranks={ranks} is no multiple of {divisor}"
    else:
        nodes = nodes or ranks // per_node
        per_node = per_node or ranks // nodes
        if ranks and ranks != nodes * per_node:
            problem = f"num_ranks must be num_nodes={nodes} times ranks_per_node={per_node}, got {ranks}"
    if problem:
        raise wrong("", problem, given, name)
    values.update(num_nodes=nodes, ranks_per_node=per_node, num_ranks=nodes * per_node)


def _check_launcher_options(text: str, given: dict[str, Any], name: str) -> None:
    """They must be words of a command, and say nothing of the nodes and ranks: that is said apart."""
    try:
        words = shlex.split(text)
    except ValueError as problem:
        raise wrong("", f"launcher_options must be words of a command: {problem}", given, name) from None
    for word in words:
        if word.partition("=")[0] in _OURS:
            text = f"launcher_options must not have {shown(word)}: num_nodes, ranks_per_node and num_ranks say that"
            raise wrong("", text, given, name)


_OURS = frozenset(
    "-n -np --n --np -N -ppn --ppn -npernode --npernode -host -hosts --host --hosts -H -f -hostfile --hostfile "
    "-machinefile --machinefile -L -w --nodelist --nodes --ntasks --ntasks-per-node".split()
)


def wrong(
    executor: object, reason: str, given: object, name: str = "resource_specification"
) -> InvalidResourceSpecification:
    """The error about a specification."""
    return InvalidResourceSpecification(executor, f"{name}={shown(given)}: {reason}")
