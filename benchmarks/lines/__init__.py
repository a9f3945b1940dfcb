"""The lines, in the order of the report. A new one is a module here and a name in this table."""

from __future__ import annotations

from collections.abc import Mapping

from benchmarks.lines import backlog, broker, busy, cost, dataflow, idle, latency, payloads, start, throughput
from benchmarks.trial import Line

LINES: Mapping[str, Line] = {
    line.name: line
    for module in (throughput, latency, start, idle, payloads, dataflow, backlog, busy, cost, broker)
    for line in module.LINES
}
