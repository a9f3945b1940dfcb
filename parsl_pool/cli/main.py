"""`parsl-pool COMMAND ...`: finds the commands, reads the arguments, tells errors in a line."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from importlib import import_module
from pkgutil import iter_modules
from types import ModuleType

from parsl_pool._version import __version__
from parsl_pool.cli import commands
from parsl_pool.errors import ParslPoolError

FAILED, WRONG_USE, INTERRUPTED = 1, 2, 130
"""Exit statuses; WRONG_USE is argparse's own."""


def command_modules() -> dict[str, ModuleType]:
    """The modules of all commands, by the commands' names."""
    names = sorted(module.name for module in iter_modules(commands.__path__))
    return {name.replace("_", "-"): import_module(f"{commands.__name__}.{name}") for name in names}


def make_parser() -> argparse.ArgumentParser:
    """The parser of the whole command line."""
    parser = argparse.ArgumentParser(
        prog="parsl-pool",
        description="Looks after what parsl_pool leaves on disk, and at what it does.",
        epilog="'parsl-pool COMMAND --help' tells more about a command.",
    )
    parser.add_argument("--version", action="version", version=f"parsl_pool {__version__}")
    chosen = parser.add_subparsers(title="commands", dest="command", metavar="COMMAND", required=True)
    for name, module in command_modules().items():
        text = (module.__doc__ or "").strip()
        below = chosen.add_parser(
            name, help=text.partition("\n")[0].rstrip("."), description=text,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )  # fmt: skip
        module.add_arguments(below)
        below.set_defaults(run=module.run)
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; gives the exit status."""
    options = make_parser().parse_args(arguments)
    try:
        status = int(options.run(options) or 0)
        sys.stdout.flush()
        return status
    except BrokenPipeError:  # whoever read our output has seen enough (`| head`)
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # so that the last flush has somewhere to go
        return FAILED
    except (ParslPoolError, OSError) as error:
        print(f"parsl-pool {options.command}: {error}", file=sys.stderr)
        return FAILED
    except KeyboardInterrupt:
        return INTERRUPTED
