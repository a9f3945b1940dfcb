"""A service by hand: runs until Ctrl-C, or the end of stdin."""

import argparse
import contextlib
import shlex
import sys
from collections.abc import Callable

from tests.services import grid_engine, slurm
from tests.services.keeper import Service

SERVICES: dict[str, tuple[Callable[[], str], Callable[[], Service]]] = {
    "slurm": (slurm.missing_for, slurm.start),
    "slurm-with-accounting": (lambda: slurm.missing_for(True), lambda: slurm.start(True)),
    "slurm-that-binds": (slurm.missing_for_binding, lambda: slurm.start(binding=True)),
    "grid_engine": (grid_engine.missing_for, grid_engine.start),
}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.services", description=__doc__)
    parser.add_argument("service", choices=SERVICES)
    missing, start = SERVICES[parser.parse_args().service]
    if lack := missing():
        sys.exit(lack)
    service = start()
    try:
        for name, value in service.environment.items():
            print(f"export {name}={shlex.quote(value)}")
        print(f"# logs: {service.folder}", flush=True)
        with contextlib.suppress(KeyboardInterrupt):
            sys.stdin.read()
    finally:
        service.stop()


if __name__ == "__main__":
    main()
