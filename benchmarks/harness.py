"""Takes all samples of a run: each in a fresh process, the peers in turn, round after round.

A B C, B C A, C A B ...: whatever else the machine does meanwhile falls on all of them, and nobody always
comes first. Ratios are taken within a round, and then their median.

A round goes through all lines before the next begins, so a run that its time limit ends has something of each. The
peers that take seconds to start come once, after the first round of the others, and only where there is a goal: what
is twenty times slower need not be measured to a tenth.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks import processes
from benchmarks.goals import GOALS
from benchmarks.peers import Peer
from benchmarks.trial import Line

ROOT = Path(__file__).parent.parent
SHORTEST_S = 15.0    # the last sample gets this time, though the run's may be over


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What to run."""

    lines: Sequence[Line]
    peers: Sequence[Peer]
    rounds: int = 5
    workers: int = 2
    quick: bool = False
    limit_s: float = float("inf")
    pythons: Mapping[str, str] = field(default_factory=dict)    # peer name -> interpreter, if not this one


@dataclass(frozen=True, kw_only=True)
class Sample:
    """What one probe saw. Without values: `failure` says why."""

    line: str
    peer: str
    round: int
    values: Mapping[str, float] | None = None
    failure: str = ""
    traceback: str = ""
    version: str = ""
    python: str = ""
    left_over: Sequence[str] = ()
    took_s: float = 0.0


def run(plan: Plan) -> Iterator[Sample]:
    """All samples of the plan, as they are taken, until its time is over."""
    missing: set[str] = set()
    end = time.monotonic() + plan.limit_s
    for line, peer, round_number in _turns(plan):
        if peer.name in missing:
            continue
        left = end - time.monotonic()
        if left <= 0:
            return
        sample = _take(plan, line, peer, round_number, min(line.limit_s, max(left, SHORTEST_S)))
        if sample.failure.startswith("ModuleNotFoundError"):
            missing.add(peer.name)    # not in its environment: once is enough
        yield sample


def _turns(plan: Plan) -> Iterator[tuple[Line, Peer, int]]:
    is_limited = plan.limit_s < float("inf")
    quick = [peer for peer in plan.peers if not (is_limited and peer.is_slow)]
    slow = [peer for peer in plan.peers if peer not in quick]
    for round_number in range(plan.rounds):
        for line in plan.lines:
            peers = [peer for peer in quick if line.wants(peer)] if round_number < line.most_rounds else []
            first = round_number % max(1, len(peers))
            for peer in peers[first:] + peers[:first]:
                yield line, peer, round_number
        if round_number == 0:
            yield from ((line, peer, 0) for line in plan.lines for peer in slow if _has_goal(line, peer))


def _has_goal(line: Line, peer: Peer) -> bool:
    names = {metric.name for metric in line.metrics}
    return line.wants(peer) and any(goal.peer == peer.name and goal.metric in names for goal in GOALS)


def _take(plan: Plan, line: Line, peer: Peer, round_number: int, limit_s: float) -> Sample:
    started = time.monotonic()
    # What was killed may still be on its way out, and write a last line.
    with tempfile.TemporaryDirectory(prefix="bench-", ignore_cleanup_errors=True) as directory:
        out = Path(directory, "sample.json")
        said = _probe(_command(plan, line, peer, out), Path(directory), limit_s)
        answer = json.loads(out.read_text()) if out.exists() else {"failure": said}
    took_s = time.monotonic() - started
    return Sample(line=line.name, peer=peer.name, round=round_number, took_s=took_s, **answer)


def _command(plan: Plan, line: Line, peer: Peer, out: Path) -> list[str]:
    python = plan.pythons.get(peer.name, sys.executable)
    size = line.size_for(peer, plan.quick)
    command = [python, "-m", "benchmarks.probe", line.name, peer.name, "--out", str(out)]
    command += ["--workers", str(plan.workers), "--size", str(size)]
    return command + ["--quick"] * plan.quick


def _probe(command: Sequence[str], directory: Path, limit_s: float) -> str:
    """Run it to its end, or to the limit; what it said on stderr, if it failed."""
    # Parsl starts its own programs by their names on PATH: those must be its environment's.
    path = os.path.dirname(command[0]) + os.pathsep + os.environ.get("PATH", os.defpath)
    # Pools leave files: all of them go with the directory.
    environment = os.environ | {"PYTHONPATH": str(ROOT), "PATH": path, "TMPDIR": str(directory)}
    # Start-up is measured as it is the second time, when the bytecode has been written.
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    with open(directory / "stderr", "w+") as stderr:
        probe = subprocess.Popen(
            command, cwd=directory, env=environment, stdin=subprocess.DEVNULL, stdout=stderr, stderr=stderr
        )
        try:
            code = probe.wait(limit_s)
        except subprocess.TimeoutExpired:
            return f"no end within {limit_s:.0f} s"
        finally:
            processes.end_tree(probe.pid)
            probe.wait()
        stderr.seek(0)
        return f"exit code {code}: {stderr.read()[-500:]}"
