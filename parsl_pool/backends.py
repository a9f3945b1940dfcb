"""What a `ParslPoolExecutor` is made of: its executors, from its arguments or from a Config."""

from __future__ import annotations

import itertools
from typing import Any

from parsl_pool import checks
from parsl_pool.config import Config
from parsl_pool.errors import ConfigurationError, WrongType, shown
from parsl_pool.executors.base import ParslExecutor
from parsl_pool.run_directory import RunPlace

_numbers = itertools.count(1)


def place_of(run_dir: Any, config: Config | None) -> RunPlace:
    """Where the run's files go."""
    return RunPlace(checks.optional(checks.path)("run_dir", run_dir) if config is None else config.run_dir)


def start_method(context: Any, max_tasks_per_child: int | None) -> str:
    """That of the workers, by a `multiprocessing` context."""
    method = "forkserver"
    if context is not None:
        if not hasattr(context, "get_start_method"):
            raise WrongType(
                f"mp_context must be a multiprocessing context, got {shown(context)}: "
                'multiprocessing.get_context("forkserver") is one'
            )
        method = context.get_start_method(allow_none=True) or "forkserver"
    if max_tasks_per_child is not None and method == "fork":
        raise ConfigurationError(
            f"max_tasks_per_child={shown(max_tasks_per_child)} is incompatible with the 'fork' start method of "
            "mp_context; supply a different one, or none"
        )
    return method


def this_machine(max_workers: int | Config | None, place: RunPlace, **options: Any) -> list[ParslExecutor]:
    """One executor with workers here: what a pool has without a Config."""
    from parsl_pool.executors.high_throughput.executor import (  # a pool of threads does without
        HighThroughputExecutor,
        available_cores,
    )

    rule = checks.whole(above=0, most=checks.MOST_WORKERS, kind="a Config or a whole number")
    count = available_cores() if max_workers is None else rule("max_workers", max_workers)
    backend = HighThroughputExecutor(f"pool-{next(_numbers)}", max_workers_per_node=count, **options)
    backend.adopt(backend.options.retries, backend.options.lost_retries, place, logs=True)
    return [backend]


def from_config(config: Config, place: RunPlace) -> list[ParslExecutor]:
    """The executors of a Config, with what it says about all of them."""
    backends = config.claim()
    for backend in backends:
        backend.adopt(config.retries, config.lost_retries, place, config.initialize_logging)
        backend.adopt_strategy(config.strategy, config.max_idletime, config.strategy_period)
    return backends


def is_empty(value: object) -> bool:
    """An empty tuple or list; other things may be expensive to ask."""
    return isinstance(value, (tuple, list)) and not value
