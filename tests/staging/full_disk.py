"""A program for a mount namespace of its own: the working directory of its pools is on a disk that is too small, and
then on one that can't be written to.

    full_disk.py FOLDER LARGE SMALL OUT         URLs of a file that is too large, of one that is not, of one to be sent
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import parsl_pool
from parsl_pool import Config, File, HighThroughputExecutor, ThreadPoolExecutor, python_app
from parsl_pool.staging import HTTPInTaskStaging, HTTPSeparateTaskStaging, Transfer

KINDS: dict[str, Any] = {
    "inside": lambda **storage: HighThroughputExecutor("main", max_workers_per_node=2, **storage),
    "apart": lambda **storage: HighThroughputExecutor("main", max_workers_per_node=2, manager_inside=False, **storage),
    "threads": lambda **storage: ThreadPoolExecutor("main", max_threads=2, **storage),
}
WAYS = {"separate": HTTPSeparateTaskStaging, "in task": HTTPInTaskStaging}


@python_app
def size_of(file: File) -> int:
    return Path(file).stat().st_size


@python_app
def write(size: int, outputs: Any = ()) -> None:
    with open(outputs[0], "wb") as file:
        file.write(bytes(size))


def told(future: Any) -> Any:
    """Its result, or the text of its error."""
    error = future.exception()
    return future.result() if error is None else str(error)


def tried(folder: Path, large: str, small: str, out: str) -> dict[str, Any]:
    """What tasks say of these files: while there is too little room, while nothing can be written, and afterwards."""
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=512k", "tmpfs", folder], check=True)
    said: dict[str, Any] = {"large": told(size_of(File(large))), "written": told(write(2_000_000, outputs=[File(out)]))}
    said["left"] = [path.stat().st_size for path in folder.rglob("*") if path.is_file() and path.stat().st_size]
    said["small"] = told(size_of(File(small)))
    subprocess.run(["mount", "-o", "remount,ro", folder], check=True)
    said["read-only"] = told(size_of(File(f"{small}?other")))
    subprocess.run(["mount", "-o", "remount,rw", folder], check=True)
    said["again"] = told(size_of(File(f"{small}?other")))
    return said


def main() -> None:
    folder, *urls = sys.argv[1:]
    for kind, make in KINDS.items():
        for way, storage in WAYS.items():
            working = Path(folder, f"{kind}-{way}")
            working.mkdir()
            executor = make(storage_access=[storage(Transfer(pause=0, retries=2))], working_dir=working)
            with parsl_pool.load(Config([executor], run_dir=None)):
                print(json.dumps({"kind": kind, "way": way, "working": str(working), **tried(working, *urls)}))
            parsl_pool.clear()


if __name__ == "__main__":
    main()
