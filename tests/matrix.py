"""The whole suite on every supported Python, in both arrangements: `python -m tests.matrix`.

    interpreters found  ->  a virtual environment each  ->  pytest in each arrangement  ->  one table

Takes an hour or more; CI has one Python and few kill rounds. docs/testing.md says when to run it.
"""

import argparse
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple
from xml.etree import ElementTree

from tests.conftest import ARRANGEMENTS

ROOT = Path(__file__).parents[1]
CACHE = ROOT / ".cache" / "matrix"
SUPPORTED = ("3.10", "3.11", "3.12", "3.13")
EXTRAS = "test,frameworks,progress"


class Outcome(NamedTuple):
    """What one run of the suite came to; `trouble` says why there are no counts, or is empty."""

    python: str
    arrangement: str
    passed: int = 0
    failed: int = 0
    skipped: int = 0
    seconds: float = 0
    trouble: str = ""

    @property
    def is_good(self) -> bool:
        return not self.trouble and not self.failed and bool(self.passed)


def candidates(minor: str) -> Iterator[Path]:
    """Where an interpreter of that version may be: on PATH, then among pyenv's."""
    for folder in os.environ.get("PATH", "").split(os.pathsep):
        if found := shutil.which(f"python{minor}", path=folder):
            yield Path(found)
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    yield from sorted(pyenv.glob(f"versions/{minor}.*/bin/python"), reverse=True)


def interpreter(minor: str) -> Path | None:
    """The first interpreter of that version that starts and can make virtual environments."""
    script = "import ensurepip, sys, venv; print('%d.%d' % sys.version_info[:2])"
    for path in candidates(minor):
        # A shim of pyenv stands on PATH for versions that are not selected, and fails.
        done = subprocess.run([path, "-c", script], capture_output=True, text=True, cwd="/")
        if done.stdout.strip() == minor:
            return path
    return None


def environment(minor: str, python: Path) -> Path:
    """The interpreter of a virtual environment that has this checkout and all that its tests need."""
    folder = CACHE / minor
    inside = folder / "bin" / "python"
    if not inside.exists():
        subprocess.run([python, "-m", "venv", folder], check=True)
    subprocess.run([inside, "-m", "pip", "install", "-q", "-e", f".[{EXTRAS}]"], check=True, cwd=ROOT)
    return inside


def run_suite(
    python: Path, minor: str, arrangement: str, options: Sequence[str], *, portable: bool = False
) -> Outcome:
    """Runs pytest; what it says goes to a file beside the environments. portable: without what only Linux has."""
    report = CACHE / f"{minor}-{arrangement}{'-portable' * portable}.xml"
    report.unlink(missing_ok=True)
    command = [str(python), "-m", "pytest", f"--arrangement={arrangement}", f"--junitxml={report}", *options]
    start = time.monotonic()
    with open(report.with_suffix(".log"), "wb") as log:
        environment = {**os.environ, "PARSL_POOL_PORTABLE": "1" * portable}  # empty: no
        code = subprocess.run(
            command, cwd=ROOT, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log
        ).returncode
    seconds = time.monotonic() - start
    if not report.exists():
        return Outcome(minor, arrangement, seconds=seconds, trouble=f"pytest exited {code}: {log.name}")
    outcome = counts(report)._replace(python=minor, arrangement=arrangement, seconds=seconds)
    if code and not outcome.failed:
        return outcome._replace(trouble=f"pytest exited {code}: {log.name}")
    return outcome


def counts(report: Path) -> Outcome:
    """The counts in a report in JUnit's form; an error beside a test counts as a failure."""
    total = failed = skipped = 0
    for suite in ElementTree.parse(report).getroot().iter("testsuite"):
        total += int(suite.attrib["tests"])
        failed += int(suite.attrib["failures"]) + int(suite.attrib["errors"])
        skipped += int(suite.attrib["skipped"])
    return Outcome("", "", total - failed - skipped, failed, skipped)


def table(outcomes: Sequence[Outcome]) -> str:
    """The outcomes as a table in Markdown, for docs/testing.md."""
    head = ["| Python | manager | passed | failed | skipped | seconds | |", "|---|---|--:|--:|--:|--:|---|"]
    rows = []
    for outcome in outcomes:
        cells = map(str, outcome._replace(seconds=round(outcome.seconds)))
        rows.append(f"| {' | '.join(cells)} |")
    return "\n".join(head + rows)


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.matrix", description=__doc__.splitlines()[0])
    parser.add_argument("--python", action="append", choices=SUPPORTED, help="only this one; may be repeated")
    parser.add_argument("--only", choices=list(ARRANGEMENTS), help="only this arrangement")
    parser.add_argument("--portable", action="store_true", help="without what only Linux has, as on macOS")
    parser.add_argument("--kill-rounds", type=int, default=20, help="default: %(default)s")
    parser.add_argument("options", nargs="*", help="after `--`: options and files for pytest, as `-- -n 2`")
    asked = parser.parse_args(arguments)
    CACHE.mkdir(parents=True, exist_ok=True)
    options = [f"--kill-rounds={asked.kill_rounds}", *asked.options]
    outcomes = []
    for minor in asked.python or SUPPORTED:
        python = interpreter(minor)
        inside = environment(minor, python) if python else None
        for arrangement in [asked.only] if asked.only else ARRANGEMENTS:
            if inside:
                outcome = run_suite(inside, minor, arrangement, options, portable=asked.portable)
            else:
                outcome = Outcome(minor, arrangement, trouble="not run: there is no such interpreter here")
            print(outcome, flush=True)
            outcomes.append(outcome)
    print(table(outcomes))
    return 0 if all(outcome.is_good for outcome in outcomes) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
