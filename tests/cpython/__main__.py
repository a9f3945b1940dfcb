"""`python -m tests.cpython [--pool NAME] [CLASS ...]`: the suite without pytest."""

import argparse
import sys
import tempfile
from pathlib import Path

from tests.cpython import suite
from tests.cpython.pools import OURS, POOLS
from tests.cpython.runner import listing, run_class


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.cpython")
    parser.add_argument("--pool", action="append", choices=POOLS, help="default: both of ours")
    parser.add_argument("classes", nargs="*", help="default: all classes for process pools")
    args = parser.parse_args()
    bad = False
    with tempfile.TemporaryDirectory() as scratch:
        try:
            where = suite.find(Path(scratch))
        except suite.SuiteMissing as missing:
            print(f"NOT RUN: {missing}")
            return 1
        found = listing(where)
        for pool in args.pool or OURS:
            verdicts = []
            for name in args.classes or found:
                verdicts.append(run_class(pool, where, name, found[name]))
                print(pool, verdicts[-1], *verdicts[-1].complaints, sep="\n    ", flush=True)
            bad |= any(verdict.complaints for verdict in verdicts)
            run, excluded = sum(v.run for v in verdicts), sum(v.excluded for v in verdicts)
            print(f"CPython {suite.MINOR}'s suite, {pool}: {run} tests run, {excluded} excluded")
    return int(bad)


if __name__ == "__main__":
    sys.exit(main())
