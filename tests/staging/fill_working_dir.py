"""A program for a mount namespace of its own: brings files into a working directory on a disk that is too small, and
says what happened.

    fill_working_dir.py DIRECTORY URL
"""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from parsl_pool.errors import TransferFailed
from parsl_pool.staging.inputs import Input, with_inputs
from parsl_pool.staging.transfers.by_scheme import fetch
from parsl_pool.staging.transfers.options import Transfer


def main() -> None:
    directory, url = sys.argv[1:]
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", directory], check=True)

    def use(number: int, function: Callable[[str], object]) -> object:
        path = f"{directory}/{number}/1/x"
        one = Input(fetch, f"{url}/{number}", path, Transfer(pause=0, retries=1), 10**9)
        return with_inputs(function, (one,), path)

    def nested(number: int) -> object:
        return use(number, lambda _: nested(number + 1))

    print("one after another:", *[use(number, os.path.getsize) for number in range(5)])
    print("fewer files than that:", len(list(Path(directory).glob("*/kept/x"))) < 4)
    try:
        nested(1)
    except TransferFailed as problem:
        print("all at once:", problem)
    print("half files:", [str(path) for path in Path(directory).rglob(".part*")])
    print("afterwards:", use(7, os.path.getsize))


if __name__ == "__main__":
    main()
