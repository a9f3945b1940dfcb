"""What usage tracking sends: these fields, and no others. docs/guide/usage-tracking.md tells users the same.

    level 1: message, run, level, project_name, parsl_pool, python, system, release
    level 2: and components
    level 3: and began; and an end message: message, run, level, project_name, ended, seconds, tasks, failed
"""

from __future__ import annotations

import json
import os
import sys
from collections import Counter
from collections.abc import Iterable
from typing import Any, NamedTuple

from parsl_pool._version import __version__

NOTHING, VERSIONS, COMPONENTS, COUNTS = range(4)
"""The levels."""


class Run(NamedTuple):
    """What is known of a run when it starts.

    Attributes:
        name: made up at random for this run; nothing can be told from it.
        level: how much is sent.
        components: class name -> how often.
        began: `time.time()` seconds.
    """

    name: str
    level: int
    project_name: str | None
    components: dict[str, int]
    began: float

    def start_message(self) -> dict[str, Any]:
        """What is sent when the pool is made."""
        system = os.uname()
        message: dict[str, Any] = {
            **self._head("start"),
            "parsl_pool": __version__,
            "python": ".".join(map(str, sys.version_info[:3])),
            "system": system.sysname,
            "release": system.release,
        }
        if self.level >= COMPONENTS:
            message["components"] = self.components
        if self.level >= COUNTS:
            message["began"] = int(self.began)
        return message

    def end_message(self, ended: float, tasks: int, failed: int) -> dict[str, Any] | None:
        """What is sent when the pool has ended; None: nothing."""
        if self.level < COUNTS:
            return None
        seconds = max(0, round(ended - self.began))
        return {**self._head("end"), "ended": int(ended), "seconds": seconds, "tasks": tasks, "failed": failed}

    def _head(self, kind: str) -> dict[str, Any]:
        return {"message": kind, "run": self.name, "level": self.level, "project_name": self.project_name}


def encoded(message: dict[str, Any]) -> bytes:
    """The datagram."""
    return json.dumps(message).encode()


def components_of(executors: Iterable[Any]) -> dict[str, int]:
    """How often each class of executor, provider and launcher is used. Classes that are not ours have no name here:
    what users call theirs is nobody's business."""
    parts: list[object] = []
    for executor in executors:
        provider = executor.recipe().get("provider")
        parts += [executor, provider, getattr(provider, "launcher", None)]
    return dict(sorted(Counter(_name_of(type(part)) for part in parts if part is not None).items()))


def _name_of(kind: type) -> str:
    return kind.__name__ if kind.__module__.partition(".")[0] == "parsl_pool" else "other"
