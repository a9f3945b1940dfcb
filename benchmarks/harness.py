"""Takes all samples of a run: each in a fresh process, the peers in turn, round after round.

A B C, B C A, C A B ...: whatever else the machine does meanwhile falls on all of them, and nobody always
comes first. Ratios are taken within a round, and then their median.
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
from benchmarks.peers import Peer
from benchmarks.trial import Line

ROOT = Path(__file__).parent.parent


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What to run."""

    lines: Sequence[Line]
    peers: Sequence[Peer]
    rounds: int = 5
    workers: int = 2
    quick: bool = False
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
    """All samples of the plan, as they are taken."""
    missing: set[str] = set()
    for line, peer, round_number in _turns(plan):
        if peer.name in missing:
            continue
        sample = _take(plan, line, peer, round_number)
        if sample.failure.startswith("ModuleNotFoundError"):
            missing.add(peer.name)    # not in its environment: once is enough
        yield sample


def _turns(plan: Plan) -> Iterator[tuple[Line, Peer, int]]:
    for line in plan.lines:
        peers = [peer for peer in plan.peers if line.wants(peer)]
        for round_number in range(min(plan.rounds, line.most_rounds)):
            first = round_number % max(1, len(peers))
            for peer in peers[first:] + peers[:first]:
                yield line, peer, round_number


def _take(plan: Plan, line: Line, peer: Peer, round_number: int) -> Sample:
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="benchmark-") as directory:
        out = Path(directory, "sample.json")
        said = _probe(_command(plan, line, peer, out), Path(directory), line.limit_s)
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
    environment = os.environ | {"PYTHONPATH": str(ROOT), "PATH": path}
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
