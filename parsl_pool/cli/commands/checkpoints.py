"""List, inspect, merge, prune and verify checkpoints.

A checkpoint is named by the directory of its run, by the checkpoint directory in it, by the file itself, or by the
URL of a database. Where several can be named, a directory of numbered runs stands for the checkpoints of all of them.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, Any

from parsl_pool.errors import BadCheckpoint
from parsl_pool.memoization.checkpoints import get_all_checkpoints, opened_to_write
from parsl_pool.memoization.rows import is_url, place_of

if TYPE_CHECKING:
    from parsl_pool.memoization.maintenance import Choice
    from parsl_pool.memoization.store import Store

DEFAULT = "runinfo"
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The sub-commands, and what each takes."""
    actions = parser.add_subparsers(title="actions", dest="action", metavar="ACTION", required=True)

    below = actions.add_parser("list", help="what checkpoints there are, and how much is in them")
    below.add_argument("places", nargs="*", default=[DEFAULT], metavar="CHECKPOINT", help=f"default: {DEFAULT}")
    below.add_argument("--json", action="store_true", help="for programs")
    below.set_defaults(act=_list)

    below = actions.add_parser("show", help="the functions in a checkpoint, or the calls of some")
    below.add_argument("place", metavar="CHECKPOINT")
    _add_choice(below, "show the calls")
    below.add_argument("--limit", type=_number, default=50, help="how many calls, the newest first (default: 50)")
    below.add_argument("--json", action="store_true", help="for programs")
    below.set_defaults(act=_show)

    below = actions.add_parser("merge", help="put several into one; of the same call, the newest result wins")
    below.add_argument("places", nargs="+", metavar="CHECKPOINT")
    below.add_argument("--into", required=True, metavar="CHECKPOINT", help="made if it is not there")
    below.set_defaults(act=_merge)

    below = actions.add_parser("prune", help="remove results, and give the space back")
    below.add_argument("place", metavar="CHECKPOINT")
    _add_choice(below, "remove results")
    below.add_argument("--dry-run", action="store_true", help="say how many there are, and remove none")
    below.set_defaults(act=_prune)

    below = actions.add_parser("verify", help="read every byte; exit status 1 if something is wrong")
    below.add_argument("places", nargs="+", metavar="CHECKPOINT")
    below.set_defaults(act=_verify)


def _add_choice(parser: argparse.ArgumentParser, what: str) -> None:
    parser.add_argument("--function", action="append", default=[], metavar="NAME",
                        help=f"{what} of this function, as 'list' and 'show' call it; may be given again")  # fmt: skip
    parser.add_argument("--older-than", type=_age, metavar="AGE", help=f"{what} older than this: 30d, 12h, 90m, 2w")
    parser.add_argument("--run", metavar="RUN", dest="of_run", help=f"{what} that this run wrote")


def _age(text: str) -> float:
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([smhdw])", text)
    if match is None:
        raise argparse.ArgumentTypeError(f"{text!r} is no age; give a number and a unit: 90m, 12h, 30d, 2w")
    return float(match[1]) * _UNITS[match[2]]


def _number(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no number above 0")
    return int(text)


def run(options: argparse.Namespace) -> int:
    """Do it; gives the exit status."""
    status: int = options.act(options)
    return status


# ---- the actions


def _list(options: argparse.Namespace) -> int:
    from parsl_pool.memoization.maintenance import summary  # late: it loads SQLAlchemy

    found: list[dict[str, Any]] = []
    bad = 0
    for place in _all_of(options.places):
        if _is_nothing(place):
            continue
        try:
            with _opened(place) as store:
                functions = summary(store)
        except BadCheckpoint as problem:
            print(f"parsl-pool checkpoints: {problem}", file=sys.stderr)
            bad += 1
            continue
        found.append({
            "checkpoint": place,
            "results": sum(one.results for one in functions),
            "functions": len(functions),
            "bytes": sum(one.size_bytes for one in functions),
            "newest": max((one.newest for one in functions), default=None),
        })  # fmt: skip
    if options.json:
        print(json.dumps(found, indent=2))
    elif found:
        _print_table(
            ("RESULTS", "FUNCTIONS", "SIZE", "NEWEST", "CHECKPOINT"),
            [(one["results"], one["functions"], _size(one["bytes"]), _when(one["newest"]), one["checkpoint"])
             for one in found],
        )  # fmt: skip
    elif not bad:
        print(f"there are no checkpoints in {', '.join(options.places)}")
    return 1 if bad else 0


def _show(options: argparse.Namespace) -> int:
    from parsl_pool.memoization.maintenance import chosen, summary  # late: it loads SQLAlchemy

    choice = _choice(options)
    with _opened(options.place) as store:
        if not _says_something(choice):
            functions = [one._asdict() for one in summary(store)]
            if options.json:
                print(json.dumps(functions, indent=2))
                return 0
            _print_table(
                ("RESULTS", "SIZE", "OLDEST", "NEWEST", "FUNCTION"),
                [(one["results"], _size(one["size_bytes"]), _when(one["oldest"]), _when(one["newest"]), one["function"])
                 for one in functions],
            )  # fmt: skip
            return 0
        calls: list[dict[str, Any]] = [
            {"call": result.key.digest.hex(), "function": result.key.function, "run": result.run, "bytes": size,
             "written": result.written, "parts": {name: digest.hex() for name, digest in result.key.parts}}
            for result, size in chosen(store, choice, options.limit)
        ]  # fmt: skip
    if options.json:
        print(json.dumps(calls, indent=2))
        return 0
    rows = []
    for call in calls:
        arguments = ", ".join(f"{name}={digest[:6]}" for name, digest in call["parts"].items() if name[:1] != "@")
        rows.append((call["call"][:12], _when(call["written"]), call["run"], _size(call["bytes"]),
                     f"{call['function']}({arguments})"))  # fmt: skip
    _print_table(("CALL", "WRITTEN", "RUN", "SIZE", "FUNCTION(ARGUMENT=DIGEST)"), rows)
    return 0


def _merge(options: argparse.Namespace) -> int:
    from parsl_pool.memoization.maintenance import merge  # late: it loads SQLAlchemy

    places = _all_of(options.places)
    with closing(opened_to_write(options.into)) as into:
        for place in places:
            with _opened(place) as source:
                if _same(into, source):
                    print(f"{place}: is the one to merge into, left out")
                    continue
                print(f"{place}: {merge(into, [source])} results went in")
        print(f"merged into {into.name}")
    return 0


def _same(one: Store, two: Store) -> bool:
    if one.is_file and two.is_file:
        return os.path.samefile(one.place, two.place)
    return one.place == two.place


def _prune(options: argparse.Namespace) -> int:
    from parsl_pool.memoization.maintenance import count, prune  # late: it loads SQLAlchemy

    choice = _choice(options)
    if not _says_something(choice):
        print("parsl-pool checkpoints prune: say which results: --older-than, --function or --run;"
              " to remove all, remove the directory", file=sys.stderr)  # fmt: skip
        return 2
    with _opened(options.place, to_write=not options.dry_run) as store:
        if options.dry_run:
            print(f"{options.place}: {count(store, choice)} results would be removed")
        else:
            print(f"{options.place}: {prune(store, choice)} results removed")
    return 0


def _verify(options: argparse.Namespace) -> int:
    from parsl_pool.memoization.maintenance import Choice, count, problems  # late: it loads SQLAlchemy

    bad = 0
    for place in _all_of(options.places):
        try:
            with _opened(place) as store:
                found = list(problems(store))
                whole = f"{count(store, Choice())} results, all of them whole" if not found else ""
        except BadCheckpoint as problem:
            found, whole = [problem.reason], ""
        bad += bool(found)
        for text in [whole] if whole else found:
            print(f"{place}: {text}")
    return 1 if bad else 0


# ---- places, choices and tables


def _all_of(places: Iterable[str]) -> list[str]:
    """The checkpoints that are named, and those of the runs in a directory that is named."""
    found = []
    for place in places:
        found += (get_all_checkpoints(place) if not is_url(place) else []) or [place]
    return found


def _is_nothing(place: str) -> bool:
    """A directory without any checkpoint, or none at all."""
    is_folder = not is_url(place) and (os.path.isdir(place) or place == DEFAULT)
    return is_folder and not os.path.exists(place_of(place))


@contextmanager
def _opened(place: str, *, to_write: bool = False) -> Iterator[Store]:
    from parsl_pool.memoization.store import Store  # late: it loads SQLAlchemy

    with closing(Store(place_of(place))) as store:  # it must be there, also to be written
        if not to_write:
            yield store
            return
    with closing(Store(place_of(place), to_write=True)) as store:
        yield store


def _choice(options: argparse.Namespace) -> Choice:
    from parsl_pool.memoization.maintenance import Choice  # late: it loads SQLAlchemy

    before = None if options.older_than is None else time.time() - options.older_than
    return Choice(tuple(options.function), before, options.of_run)


def _says_something(choice: Choice) -> bool:
    return bool(choice.functions) or choice.before is not None or choice.run is not None


def _print_table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Columns that line up; the last one is as long as it is."""
    lines = [head, *[[str(cell) for cell in row] for row in rows]]
    widths = [max(len(line[column]) for line in lines) for column in range(len(head) - 1)]
    for line in lines:
        print("  ".join([*(cell.ljust(width) for cell, width in zip(line, widths)), line[-1]]).rstrip())


def _size(size_bytes: int) -> str:
    size = float(size_bytes)
    for unit in ("B", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} TB"


def _when(seconds: float | None) -> str:
    return "-" if seconds is None else time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(seconds))
