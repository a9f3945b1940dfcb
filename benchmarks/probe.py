"""Takes one sample in a fresh interpreter, perhaps another environment's: the harness starts this program.

    harness --> probe LINE PEER --workers N --size N --out FILE --> the pool's own processes

The answer goes to a file, since pools write to stdout as they like.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks import processes
from benchmarks.lines import LINES
from benchmarks.peers import PEERS
from benchmarks.trial import Trial

GONE_WITHIN_S = 5.0


def main(arguments: Sequence[str]) -> None:
    """Measure, and write what was seen: the values, or why there are none."""
    options = _options(arguments)
    processes.adopt_orphans()
    peer = PEERS[options.peer]
    trial = Trial(peer, options.workers, options.size, options.quick)
    python = "" if peer.command else platform.python_version()
    answer: dict[str, Any] = {"python": python, "version": "", "values": None}
    try:
        answer["version"] = peer.version
        answer["values"] = dict(LINES[options.line].measure(trial))
    except Exception as error:    # whatever a pool raises: the report shows it
        answer["failure"] = f"{type(error).__name__}: {error}"
        answer["traceback"] = traceback.format_exc()
    answer["left_over"] = _left_over()
    Path(options.out).write_text(json.dumps(answer))


def _left_over() -> list[str]:
    """The command lines of processes that outlive their pool."""

    def others() -> list[int]:
        return [pid for pid in processes.tree(os.getpid())[1:] if _counts(processes.command(pid))]

    processes.wait_until(lambda: not others(), GONE_WITHIN_S)
    return [processes.command(pid) for pid in others()]


def _counts(command: str) -> bool:
    # Python's own: they end with the interpreter, not with the pool.
    return bool(command) and "resource_tracker" not in command and "forkserver" not in command


def _options(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.probe", description=__doc__)
    parser.add_argument("line", choices=sorted(LINES))
    parser.add_argument("peer", choices=sorted(PEERS))
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--size", type=int, required=True)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--out", required=True)
    return parser.parse_args(arguments)


if __name__ == "__main__":
    main(sys.argv[1:])
