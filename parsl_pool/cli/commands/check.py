"""Look at a Config, or try it, and say what is wrong.

CONFIG is a TOML file, a Python file with `config` or `config()` (FILE.py:NAME for another name), or module:name.
Without --run nothing is started: the Config is made, the scripts are rendered, and commands, directories and addresses
are looked at. With --run one small block is submitted for each executor, a worker is started and asked, and the block
is ended again.

Exit status: 0 nothing is wrong, 1 something is, 2 wrong use, 3 the trial's block was still waiting.
"""

from __future__ import annotations

import argparse
import os
import sys
from typing import Any

OK, WRONG, STILL_WAITING = 0, 1, 3


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What it takes."""
    parser.add_argument("config", metavar="CONFIG", help="FILE.toml, FILE.py[:NAME] or module[:NAME]")
    parser.add_argument("--run", dest="trial", action="store_true", help="try each executor with one block")
    parser.add_argument("--executor", metavar="LABEL", help="only this one")
    parser.add_argument("--timeout", type=_seconds, default=300.0, metavar="S", help="of a trial (default 300)")
    parser.add_argument("--nodes", type=_nodes, default=1, metavar="N", help="of a trial's block (default 1)")
    parser.add_argument("--keep", action="store_true", help="keep the trial's files also if all went well")
    parser.add_argument("--no-script", action="store_true", help="do not print the scripts")
    parser.add_argument("--json", action="store_true", help="for programs; nothing else is printed")


def run(options: argparse.Namespace) -> int:
    """Look, try, and tell."""
    from parsl_pool.doctor import inspection, report  # they load the executors
    from parsl_pool.doctor.loading import load_config  # as above
    from parsl_pool.errors import ConfigurationError

    config = load_config(options.config)
    chosen = [one for one in config.executors if options.executor in (None, one.label)]
    if not chosen:
        labels = ", ".join(repr(one.label) for one in config.executors)
        raise ConfigurationError(f"--executor must be the label of an executor, got {options.executor!r}; has {labels}")
    if not options.json:
        print(f"{options.config}: the Config is valid. Here is {inspection.python_here()}")
    seen, trials, status = [], {}, OK
    try:
        for executor in chosen:
            one = inspection.inspect(config, executor)
            seen.append(one)
            status = max(status, WRONG if one.is_wrong else OK)
            if not options.json:
                print("\n" + report.inspection_text(one, with_script=not options.no_script), flush=True)
            if options.trial and one.can_be_tried:
                trials[one.label], result = _try(config, executor, options)
                status = WRONG if WRONG in (status, result) else max(status, result)
    finally:
        for executor in config.executors:
            executor.begin_shutdown(kill=True)  # each has descriptors from its birth on
    if options.json:
        print(report.as_json(options.config, seen, trials, status))
    return status


def _try(config: Any, executor: Any, options: argparse.Namespace) -> tuple[list[Any], int]:
    from parsl_pool.doctor import diagnosis, inspection, report, trial  # as above
    from parsl_pool.doctor.finding import Level

    def say(text: str) -> None:
        print(f"  {text}", file=sys.stderr if options.json else sys.stdout, flush=True)

    say(f"trying {executor.label!r}, for {options.timeout:.0f} s at most")
    provider = inspection.provider_of(executor)
    if provider is not None and provider.limits.nodes_per_block > (most := options.nodes):
        all_nodes = provider.limits.nodes_per_block
        few = f"{most} node{'s' * (most > 1)}"
        say(f"with a block of {few}, though those of the pool have {all_nodes}: --nodes {all_nodes} tries one of these")
    evidence = trial.try_executor(
        config, executor, timeout_s=options.timeout, nodes=options.nodes, say=say, keep=options.keep
    )
    version = ".".join(map(str, sys.version_info[:3]))
    found = diagnosis.diagnose(evidence, version, options.timeout)
    if not options.json:
        for one in found:
            print(report.finding_text(one), flush=True)
    if evidence.directory and os.path.isdir(evidence.directory):
        say(f"the trial's files are in {evidence.directory}")
    if any(one.level is Level.PROBLEM for one in found):
        return found, WRONG
    return found, STILL_WAITING if any(one.code == "queue" for one in found) else OK


def _seconds(text: str) -> float:
    value = float(text)
    if not 0 < value < 1e7:
        raise argparse.ArgumentTypeError(f"must be a number of seconds above 0, got {text}")
    return value


def _nodes(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"must be at least 1, got {text}")
    return value
