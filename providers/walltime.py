"""Walltimes as users write them."""

from __future__ import annotations

import math
import re
from typing import Any

from parsl_pool import checks

_FORM = re.compile(r"(?:(?P<days>\d{1,5})-)?(?P<hours>\d{1,6}):(?P<minutes>\d{1,2}):(?P<seconds>\d{1,2})", re.ASCII)


class Walltime:
    """How long a job may take: ``"01:30:00"``, ``"2-00:00:00"`` with days before, or minutes as a number."""

    __slots__ = ("seconds",)

    def __init__(self, seconds: int) -> None:
        self.seconds = seconds

    def __str__(self) -> str:
        """Hours, minutes and seconds: what every scheduler reads."""
        minutes, seconds = divmod(self.seconds, 60)
        hours, minutes = divmod(minutes, 60)
        return f"{hours:02}:{minutes:02}:{seconds:02}"

    @property
    def minutes(self) -> int:
        """Whole minutes, not fewer than asked for."""
        return -(-self.seconds // 60)


def _walltime(value: Any) -> Walltime:
    if isinstance(value, Walltime):
        return value
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        seconds = round(value * 60) if math.isfinite(value) else 0
    elif not isinstance(value, str):
        raise TypeError
    else:
        found = _FORM.fullmatch(value.strip())
        if found is None:
            raise ValueError
        days, hours, minutes, seconds = (int(part or 0) for part in found.groups())
        if minutes > 59 or seconds > 59:
            raise ValueError
        seconds += 60 * (minutes + 60 * (hours + 24 * days))
    if seconds <= 0:
        raise ValueError
    return Walltime(seconds)


walltime = checks.Rule("a text or a number", "HH:MM:SS, D-HH:MM:SS or minutes, and more than nothing", _walltime)
