"""A program whose files have passwords in their URLs, and which says all that it can be asked about them.

    tell_all.py FOLDER URL...       the first one can be fetched; the second one is refused; the third one takes what is
                                    sent, the fourth one refuses it
"""

from __future__ import annotations

import logging
import sys
import traceback
from pathlib import Path
from typing import Any

import parsl_pool
from parsl_pool import Config, File, HighThroughputExecutor, ThreadPoolExecutor, bash_app, join_app, python_app
from parsl_pool.errors import StagingError
from parsl_pool.staging import HTTPInTaskStaging, HTTPSeparateTaskStaging, NoOpFileStaging, Transfer

KINDS: dict[str, Any] = {
    "inside": lambda **storage: HighThroughputExecutor("main", max_workers_per_node=2, **storage),
    "apart": lambda **storage: HighThroughputExecutor("main", max_workers_per_node=2, manager_inside=False, **storage),
    "threads": lambda **storage: ThreadPoolExecutor("main", max_threads=2, **storage),
}
QUICK = Transfer(pause=0.001, retries=1)


@python_app
def size_of(file: File) -> int:
    return Path(file).stat().st_size


@python_app(cache=True)
def size_again(file: File) -> int:
    return Path(file).stat().st_size


@python_app
def names_it(file: File) -> None:
    raise ValueError(f"{file!r} is of no use")


@python_app
def write(outputs: Any = ()) -> None:
    Path(outputs[0]).write_text("text")


@bash_app
def show(file: File, stdout: Any = parsl_pool.AUTO_LOGNAME, stderr: Any = parsl_pool.AUTO_LOGNAME) -> str:
    return f"echo {file.filepath}; cat {file.filepath}; exit 3"


@join_app
def joined(file: File, outputs: Any = ()) -> Any:
    return [size_of(file), write(outputs=outputs)]


def tell(future: Any) -> None:
    """All that a future says."""
    error = future.exception()
    for output in future.outputs:
        print(output.exception())
    print(future, repr(future), error, repr(error), future.attempts, future.reason, future.culprit)
    if error is not None:
        traceback.print_exception(error)
        print(getattr(error, "causes", None), getattr(error, "root_cause", None))
        print(getattr(error, "url", None), getattr(error, "reason", None))
    print(future.outputs, future.stdout, future.stderr, getattr(future, "task_status", str)())


def tell_of(pool: Any, good: str, bad: str, taken: str, refused: str) -> None:
    for url in (good, bad):
        file = File(url)
        print(repr(file), pool.why(size_again.func, file))
        for app in (size_of, size_again, names_it, show):
            tell(app(file))
        tell(size_again(file))
    for url in (taken, refused):
        future = write(outputs=[File(url)])
        tell(future)
        tell(future.outputs[0])
        tell(size_of(future.outputs[0]))
        tell(joined(File(good), outputs=[File(url)]))
        tell(joined(future.outputs[0], outputs=[File(url)]))
    waits = write(outputs=[File(taken)])
    try:
        write(outputs=[File(taken)])
    except StagingError as error:
        print(error, repr(error))
    try:
        size_of(File(good.replace("http:", "ftp:").partition("?")[0]))
    except StagingError as error:
        print(error, repr(error))
    print(pool, pool.status(), pool.explain())
    waits.outputs[0].exception()


def main() -> None:
    logging.basicConfig(level=logging.DEBUG, stream=sys.stdout)
    folder, *urls = sys.argv[1:]
    for kind, make in KINDS.items():
        for way in (HTTPSeparateTaskStaging, HTTPInTaskStaging):
            storage = make(storage_access=[NoOpFileStaging(), way(QUICK)], working_dir=f"{folder}/{kind}/working")
            config = Config([storage], run_dir=f"{folder}/{kind}/runs", retries=1, checkpoint_mode="task_exit")
            with parsl_pool.load(config) as pool:
                print(config)
                tell_of(pool, *urls)
            parsl_pool.clear()


if __name__ == "__main__":
    main()
