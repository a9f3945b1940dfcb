"""Where the managers of a pool can be, how many workers one has, and what the user has said of them."""

from __future__ import annotations

import os
from typing import Any, NamedTuple

from parsl_pool import checks, portable
from parsl_pool.errors import ConfigurationError
from parsl_pool.executors.high_throughput.where import Where


class Wishes(NamedTuple):
    """What the user has said of managers apart."""

    where: Where  # they are to connect
    start_timeout_s: float  # how long a block's job may run until its manager registers


class WorkerLogs(NamedTuple):
    """What managers apart and workers are to log."""

    debug: bool  # whether each worker is to say what it does
    root: str | None  # where, if not in the run's directory

    def check(self, has_directory: bool) -> None:
        """Raises ConfigurationError if there is no place for what is wanted."""
        if self.debug and self.root is None and not has_directory:
            raise ConfigurationError(
                "worker_debug=True needs a place for the logs: give worker_logdir_root=, or run_dir= (and leave "
                "initialize_logging as it is)"
            )

    def directory(self, log_dir: str, who: str) -> str:
        """Where their logs are to be; "" for nowhere. who: tells this pool from others with the same root."""
        return log_dir if self.root is None else os.path.join(os.path.abspath(self.root), who.replace("/", "-"))


def available_cores() -> int:
    """Processors that this process may use."""
    if hasattr(os, "process_cpu_count"):
        return os.process_cpu_count() or 1
    if portable.has(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def most_workers(per_node: int | None, old: int | None) -> int | None:
    """How many workers a manager may have. old: what was said by the option's old name. Raises ConfigurationError."""
    per_node = checks.optional(checks.workers)("max_workers_per_node", per_node)
    old = checks.optional(checks.workers)("max_workers", old)
    if old is not None:
        if per_node is not None:
            raise ConfigurationError(f"max_workers={old} is the old name of max_workers_per_node={per_node}: give one")
        import warnings  # rarely needed

        warnings.warn("max_workers is now max_workers_per_node", DeprecationWarning, stacklevel=3)
    return per_node or old


def checked_heart(period: float, threshold: float) -> tuple[float, float]:
    """Seconds between two signs of life, and of silence until the end is assumed. Raises ConfigurationError."""
    period = checks.number(least=0.01, most=1e6, kind="a number of seconds")("heartbeat_period", period)
    threshold = checks.seconds("heartbeat_threshold", threshold)
    if threshold <= period:
        raise ConfigurationError(
            f"heartbeat_threshold must be greater than heartbeat_period, got {threshold:g} and {period:g}: "
            "else everybody is lost between two signs of life"
        )
    return period, threshold


def checked_provider(provider: Any) -> Any:
    """The provider, or None. Raises WrongType."""
    if provider is None:
        return None
    from parsl_pool.providers import ExecutionProvider  # only when one is given

    return checks.instance_of(ExecutionProvider, "an ExecutionProvider, or None")("provider", provider)  # type: ignore[type-abstract]  # only asked about


def checked_selector(selector: Any) -> Any:
    """The selector of managers, or None. Raises WrongType."""
    if selector is None:
        return None
    from parsl_pool.executors.high_throughput.manager_order import ManagerSelector  # only when one is given

    rule = checks.instance_of(ManagerSelector, "a ManagerSelector, or None")  # type: ignore[type-abstract]  # only asked about
    return rule("manager_selector", selector)


def is_inside(wanted: bool | None, provider: Any, launch_cmd: str | None = None, drains: bool = False) -> bool:
    """Whether the manager is to be inside the interchange. Raises ConfigurationError if it can't be."""
    problem = _why_apart(provider) if provider is not None else ""
    if drains:
        problem = problem or "with a drain_period managers end, and others take their place"
    if launch_cmd is not None:
        problem = "launch_cmd says how managers apart are started"
    if wanted and problem:
        raise ConfigurationError(f"manager_inside=True can't be: {problem}")
    return not problem if wanted is None else wanted


def _why_apart(provider: Any) -> str:
    from parsl_pool.providers import LocalProvider  # only when one is given

    if type(provider) is not LocalProvider:
        return f"blocks come from a {type(provider).__name__}"
    limits = provider.limits
    if (limits.init_blocks, limits.min_blocks, limits.max_blocks) not in {(1, 0, 1), (1, 1, 1)}:
        return "there is more than one block, or none"
    if not starts_here(provider.launcher):
        return f"a {type(provider.launcher).__name__} starts it"
    return "it has a worker_init" if provider.worker_init else ""


def is_on_this_host(provider: Any) -> bool:
    """True if all managers will be: of another provider or launcher nobody knows where it starts them."""
    from parsl_pool.providers import LocalProvider  # only when managers are apart

    return type(provider) is LocalProvider and starts_here(provider.launcher)


def is_elsewhere(provider: Any) -> bool:
    """True if managers are expected on other hosts. Of launchers that are not ours nobody knows: their managers get a
    port of this one's alone, unless the user says something else."""
    from parsl_pool.providers import LocalProvider  # as above
    from parsl_pool.providers.node_launchers import NodeLauncher

    return not isinstance(provider, LocalProvider) or isinstance(provider.launcher, NodeLauncher)


def is_cluster(provider: Any) -> bool:
    """True if its channel leads to a login node, and managers are started on others."""
    from parsl_pool.providers.cluster import ClusterProvider  # as above

    return isinstance(provider, ClusterProvider)


def starts_here(launcher: Any) -> bool:
    """True if it starts one manager for a block, and that where the job's script runs."""
    from parsl_pool.providers import SimpleLauncher, SingleNodeLauncher  # as above

    return type(launcher) in (SimpleLauncher, SingleNodeLauncher)
