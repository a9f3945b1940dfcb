"""A program for a mount namespace of its own: fetches into a file system that is too small, and into one that is
read-only, and says what happened.

    fill_disk.py FOLDER URL KIND         KIND: small, read-only
"""

import os
import subprocess
import sys
from pathlib import Path

from parsl_pool.errors import TransferFailed
from parsl_pool.staging.transfers.by_scheme import fetch
from parsl_pool.staging.transfers.options import Transfer


def main() -> None:
    folder, url, kind = sys.argv[1:]
    how = "size=64k" if kind == "small" else "ro"
    subprocess.run(["mount", "-t", "tmpfs", "-o", how, "tmpfs", folder], check=True)
    try:
        fetch(url, Path(folder) / "data", Transfer(pause=0, retries=2))
    except TransferFailed as problem:
        print(problem)
    print("left:", os.listdir(folder))


if __name__ == "__main__":
    main()
