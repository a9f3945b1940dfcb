"""Where the manager of a pool can be, and whether all managers will be on this host: what the provider says of that."""

from __future__ import annotations

from typing import Any, NamedTuple

from parsl_pool import checks
from parsl_pool.errors import ConfigurationError


class Wishes(NamedTuple):
    """What the user has said of managers apart."""

    address: str | None  # where they are to connect, by a port ...
    ports: tuple[int, int] | None  # ... from the first of these to the last
    start_timeout_s: float  # how long a block's job may run until its manager registers


def checked_provider(provider: Any) -> Any:
    """The provider, or None. Raises WrongType."""
    if provider is None:
        return None
    from parsl_pool.providers import ExecutionProvider  # only when one is given

    return checks.instance_of(ExecutionProvider, "an ExecutionProvider, or None")("provider", provider)  # type: ignore[type-abstract]  # only asked about


def is_inside(wanted: bool | None, provider: Any) -> bool:
    """Whether the manager is to be inside the interchange. Raises ConfigurationError if it can't be."""
    problem = _why_apart(provider) if provider is not None else ""
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
    if not _starts_here(provider.launcher):
        return f"a {type(provider.launcher).__name__} starts it"
    return "it has a worker_init" if provider.worker_init else ""


def is_on_this_host(provider: Any) -> bool:
    """True if all managers will be: of another provider or launcher nobody knows where it starts them."""
    from parsl_pool.providers import LocalProvider  # only when managers are apart

    return type(provider) is LocalProvider and _starts_here(provider.launcher)


def _starts_here(launcher: Any) -> bool:
    from parsl_pool.providers import SimpleLauncher, SingleNodeLauncher  # as above

    return type(launcher) in (SimpleLauncher, SingleNodeLauncher)
