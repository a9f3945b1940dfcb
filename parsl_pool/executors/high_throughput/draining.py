"""When managers are to take no more tasks, finish and end: before their jobs would be ended."""

from __future__ import annotations

from typing import Any

from parsl_pool import checks
from parsl_pool.errors import ConfigurationError

AUTO = "auto"
_LAST_PART = 0.1  # of the walltime is left for what runs then ...
_LAST_MOST_S = 600.0  # ... but no more than that


_PERIOD = checks.optional(checks.or_word(checks.seconds, AUTO))


def drain_seconds(period: object, provider: Any) -> float:
    """Seconds after a manager's start; 0 for never. period: what the user has said. Raises ConfigurationError."""
    said = _PERIOD("drain_period", period)
    walltime = getattr(provider, "walltime", None)
    limit = float(walltime.seconds) if walltime is not None else 0.0
    if said is None or (said == AUTO and not limit):
        return 0.0
    if isinstance(said, str):
        return limit - min(_LAST_PART * limit, _LAST_MOST_S)
    if limit and said >= limit:
        raise ConfigurationError(
            f"drain_period={said:g} must be below the provider's walltime, which is {limit:g} s: managers would be "
            'ended before they have finished. Take less, or "auto"'
        )
    return said
