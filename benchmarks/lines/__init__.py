"""The lines, in the order of the report. A new one is a module here and a name in this table."""

from __future__ import annotations

from collections.abc import Mapping

from benchmarks.lines import (
    backlog,
    broker,
    busy,
    cost,
    curves,
    dataflow,
    files,
    idle,
    latency,
    objects,
    overhead,
    payloads,
    resume,
    scale,
    start,
    throughput,
)
from benchmarks.trial import Line

_MODULES = (
    throughput, latency, start, idle, payloads, objects, dataflow, curves, overhead, resume, backlog, busy, cost,
    broker, files, scale,
)    # fmt: skip

LINES: Mapping[str, Line] = {line.name: line for module in _MODULES for line in module.LINES}
