"""`python -m benchmarks`: measure, print the tables, write them to files."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from benchmarks import machine, report
from benchmarks.harness import Plan, Sample, run
from benchmarks.lines import LINES
from benchmarks.peers import PEERS, SUBJECTS

RESULTS = Path(__file__).parent / "results"
PAGE = Path(__file__).parent.parent / "docs" / "performance.md"
MINUTES = 7.0


def main(arguments: Sequence[str]) -> int:
    """Exit code 1 if a sample of our own pool failed; how fast it was doesn't matter here."""
    options = _parser().parse_args(arguments)
    if options.list:
        _list()
        return 0
    plan = Plan(
        lines=[LINES[name] for name in options.lines or _ordinary(options.minutes)],
        peers=[PEERS[name] for name in options.peers or PEERS],
        rounds=options.rounds or (1 if options.quick else 5),
        workers=options.workers,
        quick=options.quick,
        limit_s=60 * options.minutes if options.minutes else float("inf"),
        pythons=dict(options.peer_env),
    )
    facts = machine.describe()
    print("\n".join(f"{name}: {value}" for name, value in facts.items()), flush=True)
    samples: list[Sample] = []
    started = time.monotonic()
    try:
        for sample in run(plan):
            samples.append(sample)
            _print_sample(sample)
    except KeyboardInterrupt:
        print("interrupted: the report covers what was measured until now")
    if samples and time.monotonic() - started > plan.limit_s:
        print(f"the {options.minutes:g} minutes are over: the report covers what was measured until now")
    facts |= {taken.peer: _of_whom(taken) for taken in samples if taken.version}
    figures = report.Figures(plan.lines, samples)
    page = report.markdown(figures, facts)
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "benchmarks.json").write_text(report.as_json(figures, facts))
    (options.out / "benchmarks.md").write_text(page)
    print(f"\n{page}\nwritten to {options.out}")
    if options.page:
        options.page.write_text(report.with_figures(options.page.read_text(), page))
        print(f"and into {options.page}")
    return int(any(sample.failure for sample in samples if sample.peer in SUBJECTS))


def _of_whom(sample: Sample) -> str:
    return f"{sample.version} on Python {sample.python}" if sample.python else sample.version


def _ordinary(minutes: float) -> list[str]:
    """What is measured when nobody says what: all, in a run that may take its time."""
    return [name for name, line in LINES.items() if not (minutes and line.is_rare)]


def _print_sample(sample: Sample) -> None:
    said = sample.failure.strip()[-200:] or "  ".join(
        f"{name} {report.number(value)}" for name, value in (sample.values or {}).items()
    )
    print(f"{sample.line:14} {sample.round + 1} {sample.peer:16} {said}", flush=True)


def _list() -> None:
    for line in LINES.values():
        peers = ", ".join(peer.name for peer in PEERS.values() if line.wants(peer))
        print(f"{line.name:14} {'; '.join(metric.title for metric in line.metrics)}\n{'':14} [{peers}]")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Our pool beside its peers.")
    parser.add_argument(
        "--lines",
        type=_names(LINES),
        help="which, with commas between (default: all; in a run with a time limit, all but those that take minutes)",
    )
    parser.add_argument("--peers", type=_names(PEERS), help="whom, with commas between (default: all)")
    parser.add_argument("--rounds", type=int, help="samples of each (default: 5, quick: 1)")
    parser.add_argument("--workers", type=int, default=2, help="of each pool (default: 2)")
    parser.add_argument("--quick", action="store_true", help="tiny sizes: shows that it runs, no more")
    parser.add_argument(
        "--peer-env",
        type=_peer_python,
        action="append",
        default=[],
        metavar="PEER=PYTHON",
        help="the interpreter of a virtual environment which has that peer; may be repeated",
    )
    parser.add_argument("--out", type=Path, default=RESULTS, help="where results go (default: %(default)s)")
    parser.add_argument(
        "--minutes", type=float, default=MINUTES, help="end the run after so long; 0: never (default: %(default)g)"
    )
    parser.add_argument(
        "--page", type=Path, nargs="?", const=PAGE, help="also put the figures into this page (default: %(const)s)"
    )
    parser.add_argument("--list", action="store_true", help="say what there is, and stop")
    return parser


def _names(table: Iterable[str]) -> Callable[[str], list[str]]:
    def parse(text: str) -> list[str]:
        names = text.split(",")
        if unknown := set(names) - set(table):
            raise argparse.ArgumentTypeError(f"not among {', '.join(table)}: {', '.join(sorted(unknown))}")
        return names

    return parse


def _peer_python(text: str) -> tuple[str, str]:
    peer, _, python = text.partition("=")
    if peer not in PEERS or not Path(python).exists():
        raise argparse.ArgumentTypeError(f"{text!r}: need PEER=PYTHON, PEER one of {', '.join(PEERS)}")
    return peer, python


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
